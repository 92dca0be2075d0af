//! `report.html`: the report as one self-contained page without external resources.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use polyphony_engine::{Error, Result};
use polyphony_io::hash::Sha256;
use serde_json::{Map, Value, json};

use super::arguments::command_line;
use super::plots::Plots;
use polyphony_io::svg;

use super::{Report, prompts_shown};
use crate::evaluation::{Evaluation, ModelPrompt};
use crate::measures::registry::columns;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Renders the page. The content security policy allows only the script and style with the right hash;
/// stories are data, never markup.
pub(super) fn page(report: &Report, evaluation: &Evaluation<'_>, plots: &Plots) -> Result<String> {
    let style = format!("{}\n{STYLE}", svg::STYLE);
    let failed = |error: minijinja::Error| {
        Error::Internal(format!("the template of report.html fails ({error:#})"))
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.add_filter("breakable", breakable);
    environment
        .add_template("page.html", TEMPLATE)
        .map_err(failed)?;
    let template = environment.get_template("page.html").map_err(failed)?;
    template
        .render(context! {
            report => minijinja::Value::from(Serde(report)),
            command_line => command_line(&report.arguments),
            plots => minijinja::Value::from(Serde(plots)),
            style_hash => hash(&style),
            script_hash => hash(SCRIPT),
            style,
            script => SCRIPT,
            data => in_script(&data(report, evaluation)),
        })
        .map_err(failed)
}

/// A name as HTML that may be broken after `/ _ - @ = : .`, rather than within a word; `page.js` has the same rule.
fn breakable(name: &str) -> minijinja::Value {
    let mut html = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find(is_separator) {
        let after = rest[at..].find(|letter| !is_separator(letter));
        let Some(after) = after.map(|after| at + after) else {
            break;
        };
        html_escape::encode_text_to_string(&rest[..after], &mut html);
        html.push_str("<wbr>");
        rest = &rest[after..];
    }
    html_escape::encode_text_to_string(rest, &mut html);
    minijinja::Value::from_safe_string(html)
}

fn is_separator(letter: char) -> bool {
    "/_-@=:.".contains(letter)
}

/// The SHA-256 of a text in base64, as in a content security policy.
fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

/// The data of the page's script.
fn data(report: &Report, evaluation: &Evaluation<'_>) -> Value {
    let prompts: Vec<Value> = prompts_shown(evaluation)
        .into_iter()
        .map(|at| {
            let (id, prompt) = &evaluation.prompts[at];
            let models = evaluation.models.iter().zip(&evaluation.cells);
            let models: Map<String, Value> = models
                .filter_map(|(model, row)| Some((model.clone(), cell(row[at].as_ref()?))))
                .collect();
            json!({ "id": id, "prompt": prompt, "models": models })
        })
        .collect();
    json!({
        "measures": report.measures,
        "models": evaluation.models,
        "comparisons": report.comparisons,
        "prompts": prompts,
    })
}

fn cell(cell: &ModelPrompt<'_>) -> Value {
    let defined = cell.values.iter().zip(columns());
    let values: Map<String, Value> = defined
        .filter_map(|(value, measure)| Some((measure.name.to_owned(), json!((*value)?))))
        .collect();
    let texts = cell.texts.iter().map(|text| {
        json!({
            "text": text.output.response,
            "run": text.output.run,
            "words": text.words,
            "score": text.reward,
            "semantic": text.deviation.semantic,
            "style": text.deviation.style,
        })
    });
    json!({ "values": values, "responses": texts.collect::<Vec<_>>() })
}

/// JSON with escaped `<`, `>` and `&`, so that no story can end the script element.
fn in_script(value: &Value) -> String {
    let text = value.to_string();
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{:04x}", u32::from(letter));
            }
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_break_after_separators() {
        let html = breakable("google__gemma-2-<9b>.").to_string();
        assert_eq!(html, "google__<wbr>gemma-<wbr>2-<wbr>&lt;9b&gt;.");
        assert_eq!(breakable("plain").to_string(), "plain");
    }

    #[test]
    fn story_with_script_tag_is_escaped() {
        let story = json!({ "text": "</script><script>alert('\u{2028}')</script>&amp;" });
        let safe = in_script(&story);
        assert!(!safe.contains(['<', '>', '&', '\u{2028}']));
        assert_eq!(serde_json::from_str::<Value>(&safe).unwrap(), story);
    }
}
