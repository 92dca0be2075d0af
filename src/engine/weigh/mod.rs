//! Weights for a preference file that is there already: each row's chosen response, compared with the other
//! responses to its prompt.
//!
//! The file's prompts and responses become the tables of a store beside the output, on which the steps of
//! `pairs` run: embedding in committed shards, deviation, weights. A killed run resumes there; a finished one
//! removes it.

mod layout;
mod output;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

pub use self::layout::Columns;
use self::output::{OutputFormat, WeightedRows};
use self::tables::Tables;
use crate::pairs::long_texts::{SpaceTokens, space_tokens};
use crate::pairs::weight_formula::WeightFormula;
use crate::pairs::{self, PairsPipeline};
use crate::store::{Manifest, StepEntry, Store};
use crate::{Error, Result, schema, session, sql};
use polyphony_io::atomic::write_json;
use polyphony_io::beside;
use polyphony_io::format::{Format, RowFile, quoted_list};
use polyphony_io::hash::{Sha256, hex, sha256_file};
use polyphony_io::progress::{Progress, Unit};
use polyphony_io::records::{self, ReadOptions};

/// The table of the rows' weights during the job.
const WEIGHTED_ROWS: &str = "weighted_rows";

/// The summary's ending, in place of the output's.
const SUMMARY: &str = "weights.json";

/// The step that reads the files.
const READ: &str = "rows";

/// The options of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The columns of the file.
    pub columns: Columns,
    /// Files of further responses (prompt and response), which the chosen ones are compared with, too.
    pub also: Vec<String>,
    /// The options of deviation and weights, among those of `pairs`.
    pub weights: pairs::Options,
    /// The output, `.parquet` or `.jsonl`.
    pub out: PathBuf,
}

/// The result of a run; written beside the output as `.weights.json`.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The version of polyphony.
    pub polyphony: String,
    /// The SHA-256 of the output.
    pub sha256: String,
    /// The files: name, SHA-256.
    pub sources: Vec<(String, String)>,
    /// The rows of the file.
    pub rows: u64,
    /// Its prompts.
    pub prompts: u64,
    /// The distinct texts of all prompts.
    pub responses: u64,
    /// The rows of the further files.
    pub further: Further,
    /// The fraction of rows with weight 0, in [0, 1].
    pub share_of_zero_weights: f64,
    /// The fraction of rows of prompts with two distinct texts, in [0, 1].
    pub share_of_two_responses: f64,
    /// The mean weight of the chosen responses, over all rows.
    pub mean_weight: f64,
    /// The mean by which all weights were divided; 1 without `--center-winners`.
    pub winner_mean: f64,
    /// How the weights were made.
    pub weights: WeightFormula,
    /// The embedders, a line per deviation space.
    pub embedders: Vec<String>,
    /// Those of them whose deviations the weights depend on.
    pub weight_embedders: Vec<String>,
    /// The tokens that each embedder has read of the texts; none for built-in ones.
    pub tokens: Vec<SpaceTokens>,
    /// The files and expressions that stand in the place of built-in ones, with their SHA-256.
    pub own_sql: Vec<String>,
}

/// Counts of the rows of further files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Further {
    /// New texts of prompts of the file.
    pub added: u64,
    /// Texts that the prompt has already.
    pub same_text: u64,
    /// Rows whose prompt is in no row of the file.
    pub other_prompt: u64,
}

/// A file of rows with its name for messages and provenance.
struct Source {
    name: String,
    file: RowFile,
    sha256: String,
}

/// Reads preference rows from `file` (a path, or `hub:OWNER/NAME[@REVISION][#FILE]`) and writes them to
/// `options.out`, in order and otherwise unchanged, with the columns `deviation_semantic`, `deviation_style`
/// and `weight` of the chosen response.
///
/// # Errors
/// When a file cannot be read or has another layout, a row has no prompt, a column `weight` is there already, a
/// model fails, or the disk is full.
pub async fn weigh(file: &str, options: &Options, progress: &dyn Progress) -> Result<Summary> {
    let settings = &options.weights;
    settings.check_weights()?;
    OutputFormat::of(&options.out)?;
    if settings.spaces.is_empty() && settings.weight.is_none() {
        return Err(Error::config(
            "--deviation",
            "must be both, semantic or style (got none): all weights would be 1",
            "choose a deviation, or give the weight with --weight",
        ));
    }
    let source = source(file, progress)?;
    check_columns(&source, &options.columns)?;
    let mut sources = vec![source];
    for also in &options.also {
        sources.push(self::source(also, progress)?);
    }
    refuse_foreign_files(&sources, &options.out)?;
    let folder = options.out.with_extension("parts");
    let mut store = Store::lock(&folder)?;
    check_folder(&store)?;
    let further = match read_rows(&mut store, &sources, options, progress) {
        Ok(further) => further,
        Err(error) if store.manifest().tables.is_empty() => {
            drop(store.remove());
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let mut run = PairsPipeline::new(&mut store, settings, progress);
    run.step("30_scored_responses_of_store.sql", None, None)
        .await?;
    run.weights().await?;
    let winner_mean = run.center_winners().await?;
    run.step("60_weighted_rows.sql", None, None).await?;
    let [part] = store
        .table(WEIGHTED_ROWS)
        .verified()?
        .try_into()
        .map_err(|_| Error::store(&folder, "holds no weights", "remove it and run again"))?;
    let no_file = || Error::Internal("no file was opened".to_owned());
    let source = sources.first().ok_or_else(no_file)?;
    let what = format!("writing {}", options.out.display());
    progress.start(&what, Some(source.file.bytes), Unit::Bytes);
    let mut weights = WeightedRows::open(&part)?;
    output::write(&source.file, &mut weights, &options.out, progress)?;
    progress.finish();
    let counts = counts(&store).await?;
    let count = |at: usize| counts.get(at).copied().unwrap_or_default();
    let weights = WeightFormula::of(settings);
    let summary = Summary {
        polyphony: env!("CARGO_PKG_VERSION").to_owned(),
        sha256: sha256_file(&options.out)?,
        rows: count(0) as u64,
        prompts: store.manifest().rows(schema::PROMPTS),
        responses: store.manifest().rows(schema::RESPONSES),
        further,
        share_of_zero_weights: count(1),
        share_of_two_responses: count(2),
        mean_weight: count(3),
        winner_mean,
        embedders: pairs::card::embedders(settings, |_| true),
        weight_embedders: pairs::card::embedders(settings, |space| {
            weights.depends_on(settings, space)
        }),
        weights,
        tokens: space_tokens(&store, settings).await?,
        own_sql: pairs::card::own_sql(settings)?,
        sources: sources.into_iter().map(|s| (s.name, s.sha256)).collect(),
    };
    write_json(&options.out.with_extension(SUMMARY), &summary)?;
    store.remove()?;
    Ok(summary)
}

/// Fails if the output is an input, or the file beside it would replace one that no run wrote.
fn refuse_foreign_files(sources: &[Source], out: &Path) -> Result<()> {
    let is_ours = |bytes: &[u8]| beside::has_field(bytes, "polyphony", None);
    beside::refuse_foreign(&out.with_extension(SUMMARY), is_ours)?;
    let mut inputs = sources.iter();
    inputs.try_for_each(|source| beside::refuse_input(out, &source.file.path))
}

/// The file that an argument stands for; a file of the hub is fetched.
fn source(argument: &str, progress: &dyn Progress) -> Result<Source> {
    let (name, path) = match argument.strip_prefix("hub:") {
        Some(repository) => {
            let fetched = polyphony_model::hub::dataset_file(repository, progress)?;
            (fetched.name, fetched.path)
        }
        None => (argument.to_owned(), PathBuf::from(argument)),
    };
    let file = RowFile::open(&path)?;
    let sha256 = sha256_file(&file.path)?;
    Ok(Source { name, file, sha256 })
}

/// Fails for a file without preferences, or with weights.
fn check_columns(source: &Source, columns: &Columns) -> Result<()> {
    let has = records::columns_of(&source.file.path, source.file.format)?;
    if has.is_empty() {
        return Err(crate::ingest::source::no_rows(&source.file.path));
    }
    for name in [&columns.chosen, &columns.rejected] {
        if !has.contains(name) {
            let message = format!("has no column `{name}`, but {}", quoted_list(&has));
            return Err(Error::input(
                &source.name,
                message,
                "name its columns with --columns prompt=...,chosen=...,rejected=...; a table of responses with \
                 scores goes through `polyphony ingest --columns` and `polyphony pairs`",
            ));
        }
    }
    match output::COLUMNS
        .iter()
        .find(|new| has.iter().any(|name| name == *new))
    {
        Some(name) => Err(has_column(&source.name, name)),
        None => Ok(()),
    }
}

/// Fails for a store that is not of an earlier run.
fn check_folder(store: &Store) -> Result<()> {
    let manifest = store.manifest();
    let is_ours = manifest.steps.contains_key(READ)
        || manifest
            .tables
            .keys()
            .all(|table| table.starts_with(schema::EMBEDDINGS));
    if is_ours && manifest.sources.is_empty() {
        return Ok(());
    }
    let hint = "choose another --out: the tables of the file lie there while it is weighed";
    Err(Error::store(store.folder(), "holds other tables", hint))
}

fn has_column(source: &str, name: &str) -> Error {
    let message = format!("has a column `{name}` already");
    let hint = "train on it as it is, or rename or drop the column first";
    Error::input(source, message, hint)
}

/// Whether the object of a JSON document is a row itself.
fn is_row(fields: &Map<String, Value>) -> bool {
    ["prompt", "chosen", "rejected"]
        .iter()
        .any(|name| fields.contains_key(*name))
}

/// Reads the files into the store's tables, unless it has them from a run that was killed.
fn read_rows(
    store: &mut Store,
    sources: &[Source],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Further> {
    let mut hasher = Sha256::new();
    hasher.update(env!("CARGO_PKG_VERSION"));
    hasher.update(format!("{:?}", options.columns));
    for source in sources {
        hasher.update(&source.sha256);
    }
    let fingerprint = hex(&hasher.finalize());
    let done = store.manifest().steps.get(READ);
    if let Some(step) = done.filter(|step| step.fingerprint == fingerprint) {
        require_scores(&step.options, sources, &options.weights)?;
        return Ok(Further::from_options(&step.options));
    }
    let mut manifest = Manifest::default();
    // Vectors are of texts, so those of an earlier run are right for any file.
    manifest.tables = store.manifest().tables.clone();
    manifest
        .tables
        .retain(|name, _| name.starts_with(schema::EMBEDDINGS));
    store.commit(manifest)?;
    let no_file = || Error::Internal("no file was opened".to_owned());
    let (first, also) = sources.split_first().ok_or_else(no_file)?;
    let mut tables = Tables::create(store, &first.name)?;
    let unscored = read_pairs(first, &options.columns, &mut tables, progress)?;
    if tables.rows() == 0 {
        return Err(Error::input(
            &first.name,
            "holds no rows",
            "name another file",
        ));
    }
    let mut further = Further::default();
    for source in also {
        read_further(
            source,
            &options.columns.prompt,
            &mut tables,
            &mut further,
            progress,
        )?;
    }
    let mut counts = further.to_options();
    counts.extend(unscored.map(|line| ("unscored".to_owned(), line.to_string())));
    require_scores(&counts, sources, &options.weights)?;
    let mut manifest = store.manifest().clone();
    tables.finish()?.add_to(&mut manifest);
    manifest.complete = true;
    let step = StepEntry {
        by: READ.to_owned(),
        fingerprint,
        options: counts,
    };
    manifest.steps.insert(READ.to_owned(), step);
    store.commit(manifest)?;
    Ok(further)
}

/// Reads the rows of a preference file. Returns the first row without scores.
fn read_pairs(
    source: &Source,
    columns: &Columns,
    tables: &mut Tables,
    progress: &dyn Progress,
) -> Result<Option<i64>> {
    let [semantic, style, weight] = output::COLUMNS;
    let names = [
        columns.prompt.as_str(),
        &columns.chosen,
        &columns.rejected,
        "split",
        "score_chosen",
        "score_rejected",
        semantic,
        style,
        weight,
    ];
    let mut unscored = None;
    read(source, &names, progress, &mut |number, fields| {
        if let Some(name) = output::COLUMNS
            .iter()
            .find(|name| fields.contains_key(**name))
        {
            return Err(has_column(&source.name, name));
        }
        let row = layout::preference(&fields, columns);
        let row = row.map_err(|refusal| refused(source, number, &refusal))?;
        let score = |name: &str| fields.get(name).and_then(number_of);
        let scores = (score("score_chosen"), score("score_rejected"));
        if scores.0.is_none() || scores.1.is_none() {
            unscored.get_or_insert(number);
        }
        let split = fields.get("split").and_then(Value::as_str);
        tables.pair(
            number,
            row.prompt,
            (&row.chosen, scores.0),
            (&row.rejected, scores.1),
            split.filter(|split| !split.is_empty()).unwrap_or("train"),
        )
    })?;
    Ok(unscored)
}

/// Reads further responses.
fn read_further(
    source: &Source,
    prompt: &str,
    tables: &mut Tables,
    counts: &mut Further,
    progress: &dyn Progress,
) -> Result<()> {
    let names: Vec<&str> = [prompt, "score"]
        .into_iter()
        .chain(layout::RESPONSE)
        .collect();
    read(source, &names, progress, &mut |number, fields| {
        let row = layout::response(&fields, prompt);
        let (prompt, text) = row.map_err(|refusal| refused(source, number, &refusal))?;
        let score = fields.get("score").and_then(number_of);
        match tables.further(number, &prompt, (&text, score))? {
            Some(true) => counts.added += 1,
            Some(false) => counts.same_text += 1,
            None => counts.other_prompt += 1,
        }
        Ok(())
    })
}

/// Reads some columns of a file, row by row. A malformed row or a truncated file is an error.
fn read(
    source: &Source,
    columns: &[&str],
    progress: &dyn Progress,
    each: &mut dyn FnMut(i64, Map<String, Value>) -> Result<()>,
) -> Result<()> {
    let file = &source.file;
    progress.start(
        &format!("reading {}", source.name),
        Some(file.bytes),
        Unit::Bytes,
    );
    let options = ReadOptions {
        columns: Some(columns),
        is_row: &is_row,
    };
    let outcome = records::read(file, &options, progress, &mut |(number, row)| {
        let row = row.map_err(|text| records::malformed_row(file, number, text))?;
        each(number, row)
    })?;
    outcome.require_complete(&file.path)?;
    progress.finish();
    Ok(())
}

/// The error for a row that cannot be used: its number, and what it lacks with a hint, as `lacks: hint`.
fn refused(source: &Source, number: i64, refusal: &str) -> Error {
    let what = match source.file.format {
        Format::JsonLines => "line",
        _ => "row",
    };
    let (message, hint) = refusal.rsplit_once(": ").unwrap_or((refusal, "correct it"));
    Error::input(&source.name, format!("{what} {number} {message}"), hint)
}

/// A number, or a text that is one, as in CSV files.
fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64().or_else(|| records::non_finite(value)),
    }
}

/// Fails if the expression of `--weight` names `score` and a row has none.
fn require_scores(
    counts: &BTreeMap<String, String>,
    sources: &[Source],
    options: &pairs::Options,
) -> Result<()> {
    let needed = options
        .weight
        .as_ref()
        .filter(|weight| weight.names("score"));
    let (Some(weight), Some(line), Some(source)) =
        (needed, counts.get("unscored"), sources.first())
    else {
        return Ok(());
    };
    Err(Error::config(
        weight.option(),
        format!("names `score`, but row {line} of {} has none", source.name),
        "give each row `score_chosen` and `score_rejected`, or leave the score out of the expression",
    ))
}

/// Rows, the share of weight 0, the share of prompts with two texts, the mean weight.
async fn counts(store: &Store) -> Result<Vec<f64>> {
    const QUERY: &str = "\
        WITH sizes AS (SELECT prompt_id, count(*) AS n FROM scored_responses GROUP BY prompt_id) \
        SELECT \
            count(*), \
            avg(CASE WHEN weighted_rows.weight = 0 THEN 1.0 ELSE 0.0 END), \
            avg(CASE WHEN sizes.n = 2 THEN 1.0 ELSE 0.0 END), \
            round(avg(weighted_rows.weight), 9) \
        FROM weighted_rows \
        JOIN pair_ids ON pair_ids.file_row = weighted_rows.file_row \
        JOIN sizes ON sizes.prompt_id = pair_ids.prompt_id";
    let context = session::with_store(store, &session::MemoryLimit::pipeline())?;
    sql::numbers(&context, QUERY).await
}

impl Further {
    fn to_options(self) -> BTreeMap<String, String> {
        let counts = [
            ("added", self.added),
            ("same_text", self.same_text),
            ("other_prompt", self.other_prompt),
        ];
        counts
            .map(|(name, n)| (name.to_owned(), n.to_string()))
            .into()
    }

    fn from_options(options: &BTreeMap<String, String>) -> Self {
        let count = |name: &str| {
            options
                .get(name)
                .and_then(|n| n.parse().ok())
                .unwrap_or_default()
        };
        Self {
            added: count("added"),
            same_text: count("same_text"),
            other_prompt: count("other_prompt"),
        }
    }
}
