//! Blinded sheet: the texts of two models to the same prompts, side by side and without model names, for
//! Potato and as CSV.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use polyphony_engine::{Error, Result};
use polyphony_io::atomic::write_atomic;
use polyphony_io::beside::refuse_foreign;
use polyphony_io::checksum::{parse_checked, write_json_checked};
use polyphony_io::hash::short_id;
use polyphony_io::random::SplitMix64;
use serde_json::json;

use super::{Item, Key, potato};
use crate::outputs::{Input, Output};

/// The file name of the key.
const KEY: &str = "key.json";

/// The file names of the sheet: Potato's settings, its items, and the same as a table.
const SETTINGS: &str = "potato.yaml";
const LINES: &str = "sheet.jsonl";
const TABLE: &str = "sheet.csv";

/// The options of a sheet.
#[derive(Debug, Clone)]
pub struct SheetConfig {
    /// The names of the two models.
    pub models: [String; 2],
    /// The number of prompts, sampled from those with enough texts of both models.
    pub items: usize,
    /// The number of texts per model and prompt.
    pub texts: usize,
    /// The random seed.
    pub seed: u64,
}

/// The texts of both models to a prompt.
struct SheetItem<'a> {
    prompt: &'a str,
    prompt_id: &'a str,
    texts: [Vec<&'a str>; 2],
}

/// Writes `sheet.jsonl` (for Potato: `id` and `text`, and separately prompt and texts), `potato.yaml` (the
/// configuration of Potato), `sheet.csv` (the same with empty columns for answers) and `key.json`. Returns the
/// number of items. Each model is on side A as often as on side B, up to a difference of one.
///
/// # Errors
/// When no prompt has enough texts of both models, the text of a prompt is missing, the folder contains the key
/// of another sheet, or the disk is full.
pub fn write(rows: &[Output], inputs: &[Input], config: &SheetConfig, out: &Path) -> Result<usize> {
    let mut random = SplitMix64(config.seed);
    let mut items = common(rows, config, &mut random)?;
    random.shuffle(&mut items);
    items.truncate(config.items);
    if let Some(item) = items.iter().find(|item| item.prompt.trim().is_empty()) {
        let message = format!("no file has the text of prompt `{}`", item.prompt_id);
        let hint = "give outputs with prompts";
        return Err(Error::input(Path::new("outputs"), message, hint));
    }
    let mut sides: Vec<usize> = (0..items.len()).map(|item| item % 2).collect();
    random.shuffle(&mut sides);
    let digits = items.len().to_string().len();
    let name = name_of(config, &items, &sides);
    let (mut lines, mut key) = (String::new(), BTreeMap::new());
    let mut table = csv::Writer::from_writer(Vec::new());
    table
        .write_record(csv_header(config.texts))
        .map_err(csv_error)?;
    for (number, (item, side)) in items.iter().zip(sides).enumerate() {
        let id = format!("{name}-{:0digits$}", number + 1);
        let (a, b) = (&item.texts[side], &item.texts[1 - side]);
        let row = json!({
            "id": id,
            "text": plain(item.prompt, a, b),
            "prompt": item.prompt,
            "a": a,
            "b": b,
        });
        let _ = writeln!(lines, "{row}");
        let cells = [id.as_str(), item.prompt]
            .into_iter()
            .chain(a.iter().chain(b).copied());
        let cells = cells.chain(["", "", ""]).map(guarded);
        table.write_record(cells).map_err(csv_error)?;
        let prompt_id = item.prompt_id.to_owned();
        key.insert(id, Item { prompt_id, a: side });
    }
    let count = key.len();
    let hashes = inputs
        .iter()
        .map(|input| (input.file.clone(), input.sha256.clone()));
    let key = Key {
        format: "polyphony-study".to_owned(),
        models: config.models.clone(),
        seed: config.seed,
        inputs: hashes.collect(),
        items: key,
    };
    let before = fs::read(out.join(KEY));
    let is_other = |bytes: Vec<u8>| {
        let before = parse_checked::<Key>(&bytes);
        before.map_or(true, |(before, _)| before != key)
    };
    if before.is_ok_and(is_other) {
        let message = "holds the key of another sheet, without which its answers say nothing";
        return Err(Error::input(out, message, "choose another --out"));
    }
    if !out.join(KEY).exists() {
        for file in [SETTINGS, LINES, TABLE] {
            refuse_foreign(&out.join(file), |_| false)?;
        }
    }
    // First: it tells that the other files are of this sheet, if the command is killed and started again.
    write_json_checked(&out.join(KEY), &key)?;
    write_atomic(
        &out.join(SETTINGS),
        potato::settings(config.texts).as_bytes(),
    )?;
    write_atomic(&out.join(LINES), lines.as_bytes())?;
    write_atomic(&out.join(TABLE), &table.into_inner().map_err(csv_error)?)?;
    Ok(count)
}

/// The prompts with enough texts of both models, with a random sample of `config.texts` texts of each.
fn common<'a>(
    rows: &'a [Output],
    config: &SheetConfig,
    random: &mut SplitMix64,
) -> Result<Vec<SheetItem<'a>>> {
    let mut prompts: BTreeMap<&str, (&str, [Vec<&str>; 2])> = BTreeMap::new();
    for row in rows {
        if let Some(side) = config.models.iter().position(|model| *model == row.model) {
            let (prompt, texts) = prompts.entry(&row.prompt_id).or_default();
            if prompt.trim().is_empty() {
                *prompt = &row.prompt;
            }
            texts[side].push(&row.response);
        }
    }
    let enough = |texts: &[Vec<&str>; 2]| texts.iter().all(|texts| texts.len() >= config.texts);
    prompts.retain(|_, (_, texts)| enough(texts));
    if prompts.is_empty() {
        let models: Vec<&str> = {
            let mut names: Vec<&str> = rows.iter().map(|row| row.model.as_str()).collect();
            names.dedup();
            names
        };
        return Err(Error::Unknown {
            what: "pair of models",
            given: format!("{}, {}", config.models[0], config.models[1]),
            known: format!(
                "two of {} with {} texts each to a prompt in common",
                models.join(", "),
                config.texts
            ),
        });
    }
    let mut draw = |mut texts: Vec<&'a str>| {
        random.shuffle(&mut texts);
        texts.truncate(config.texts);
        texts
    };
    let items = prompts
        .into_iter()
        .map(|(prompt_id, (prompt, [one, other]))| SheetItem {
            prompt,
            prompt_id,
            texts: [draw(one), draw(other)],
        });
    Ok(items.collect())
}

/// An item as a single text, for tools that show one text per item. Markup is escaped, so that browsers show
/// stories as text.
fn plain(prompt: &str, a: &[&str], b: &[&str]) -> String {
    let mut text = format!("Prompt: {prompt}\n");
    for (side, texts) in [("A", a), ("B", b)] {
        for (number, story) in texts.iter().enumerate() {
            let _ = write!(text, "\n[{side}-{}]\n{story}\n", number + 1);
        }
    }
    html_escape::encode_text(&text).into_owned()
}

/// A hash of the sheet, used as the prefix of item ids: answers cannot be read with the key of another sheet.
fn name_of(config: &SheetConfig, items: &[SheetItem<'_>], sides: &[usize]) -> String {
    let mut parts: Vec<&str> = config.models.iter().map(String::as_str).collect();
    for (item, &side) in items.iter().zip(sides) {
        parts.push(item.prompt_id);
        parts.extend(&item.texts[side]);
        parts.extend(&item.texts[1 - side]);
    }
    short_id(&parts)[..6].to_owned()
}

/// The columns of `sheet.csv`: the last three are for the answers.
fn csv_header(texts: usize) -> Vec<String> {
    let sides = ["a", "b"].iter();
    let stories = sides.flat_map(|side| (1..=texts).map(move |number| format!("{side}_{number}")));
    let before = ["id", "prompt"].map(str::to_owned).into_iter();
    let after = ["annotator", "quality", "diversity"].map(str::to_owned);
    before.chain(stories).chain(after).collect()
}

/// A cell with an apostrophe in front where a spreadsheet would take it for a formula: after white space, too, and
/// with full-width signs.
fn guarded(cell: &str) -> String {
    const SIGNS: [char; 8] = [
        '=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ];
    if cell.starts_with(['\t', '\r']) || cell.trim_start().starts_with(SIGNS) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

/// csv cannot fail on records of one length that are written to memory.
fn csv_error(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("sheet.csv cannot be written ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(model: &str, prompt: &str) -> Output {
        Output {
            model: model.to_owned(),
            prompt_id: "1".to_owned(),
            prompt: prompt.to_owned(),
            response: model.to_owned(),
            ..Output::default()
        }
    }

    #[test]
    fn cells_that_spreadsheets_compute_are_guarded() {
        for cell in ["=1+1", "\n=1+1", " \r\n@x", "\u{ff1d}1+1", "-2", "\tx"] {
            assert_eq!(guarded(cell), format!("'{cell}"), "{cell:?}");
        }
        for cell in ["A door = a lamp.", "", "\n\nHe ran."] {
            assert_eq!(guarded(cell), cell);
        }
    }

    #[test]
    fn prompt_of_either_model_is_used_and_key_is_not_overwritten() {
        let config = SheetConfig {
            models: ["a".to_owned(), "b".to_owned()],
            items: 1,
            texts: 1,
            seed: 0,
        };
        let out = tempfile::tempdir().unwrap();
        write(&[row("a", "said"), row("b", "")], &[], &config, out.path()).unwrap();
        let sheet = fs::read_to_string(out.path().join("sheet.jsonl")).unwrap();
        assert!(sheet.contains("Prompt: said"), "{sheet}");
        let settings = fs::read_to_string(out.path().join("potato.yaml")).unwrap();
        let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
        let labels = &settings["annotation_schemes"][0]["labels"];
        assert_eq!(*labels, json!(["A-1", "B-1", "Hard to decide"]));
        // Writing the same sheet again is allowed; another sheet would make existing answers unreadable.
        let rows = [row("a", "said"), row("b", "")];
        write(&rows, &[], &config, out.path()).unwrap();
        let other = SheetConfig {
            seed: 1,
            ..config.clone()
        };
        let error = write(&rows, &[], &other, out.path()).unwrap_err();
        assert!(error.to_string().contains("key of another sheet"));
        let out = tempfile::tempdir().unwrap();
        let error = write(&[row("a", ""), row("b", "")], &[], &config, out.path()).unwrap_err();
        assert!(
            error.to_string().contains("give outputs with prompts"),
            "{error}"
        );
    }
}
