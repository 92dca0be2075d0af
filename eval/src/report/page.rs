//! `report.html`: the report as one self-contained page without external resources.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use polyphony_engine::{Error, Result};
use polyphony_io::hash::Sha256;
use serde_json::{Map, Value, json};

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
    environment
        .add_template("page.html", TEMPLATE)
        .map_err(failed)?;
    let template = environment.get_template("page.html").map_err(failed)?;
    template
        .render(context! {
            report => minijinja::Value::from(Serde(report)),
            plots => minijinja::Value::from(Serde(plots)),
            style_hash => hash(&style),
            script_hash => hash(SCRIPT),
            style,
            script => SCRIPT,
            data => in_script(&data(report, evaluation)),
        })
        .map_err(failed)
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
    fn story_with_script_tag_is_escaped() {
        let story = json!({ "text": "</script><script>alert('\u{2028}')</script>&amp;" });
        let safe = in_script(&story);
        assert!(!safe.contains(['<', '>', '&', '\u{2028}']));
        assert_eq!(serde_json::from_str::<Value>(&safe).unwrap(), story);
    }
}
