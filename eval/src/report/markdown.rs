//! How does the report look as text? Tables that a README or an issue can hold.

use std::fmt::Write as _;

use super::Report;
use crate::catalogue::{Direction, Measure};
use crate::summary::Value;

/// The report as Markdown.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = String::from("# Evaluation\n\n");
    let k = report
        .options
        .get("k")
        .map(ToString::to_string)
        .unwrap_or_default();
    let reward = match &report.reward {
        Some(reward) => format!("Reward: {}.", reward.source),
        None => "No reward.".to_owned(),
    };
    let spaces: Vec<String> = report
        .spaces
        .iter()
        .map(|(space, named)| format!("{space} by {}", named.name))
        .collect();
    line(
        &mut text,
        format_args!(
            "{} models, {} prompts, {k} texts of each to a prompt. {reward} Diversity: {}.",
            report.models.len(),
            report.prompt_count,
            spaces.join(", ")
        ),
    );
    line(
        &mut text,
        format_args!(
            "A value is the mean over prompts with its 95 % interval (bootstrap over prompts). n/a: undefined."
        ),
    );
    for license_notice in &report.notices {
        line(&mut text, format_args!("> {}", cell(license_notice)));
    }
    models(&mut text, report);
    comparisons(&mut text, report);
    likeness(&mut text, report);
    inputs(&mut text, report);
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _ = writeln!(text, "{words}\n");
}

fn row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// The first row of a table, and the rule under it.
fn head(text: &mut String, cells: &[String]) {
    row(text, cells);
    let _ = writeln!(text, "|{}", "---|".repeat(cells.len()));
}

/// A row a measure, a column a model: measures are many, models few.
fn models(text: &mut String, report: &Report) {
    line(text, format_args!("## Models"));
    let names = report.models.iter().map(|model| cell(&model.name));
    let names: Vec<String> = [String::new()].into_iter().chain(names).collect();
    head(text, &names);
    for (at, measure) in report.measures.iter().enumerate() {
        let values = report
            .models
            .iter()
            .map(|model| value(model.values[at].1.as_ref()));
        let cells: Vec<String> = [title(measure)].into_iter().chain(values).collect();
        row(text, &cells);
    }
    text.push('\n');
}

fn title(measure: &Measure) -> String {
    let arrow = match measure.better {
        Direction::Higher => " ↑",
        Direction::Lower => " ↓",
        Direction::Neither => "",
    };
    format!("{}{arrow}", measure.title)
}

fn value(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "n/a".to_owned();
    };
    interval(value.mean, value.low.zip(value.high))
}

/// A value with its interval, where there is one.
fn interval(value: f64, bounds: Option<(f64, f64)>) -> String {
    match bounds {
        Some((low, high)) => format!("{} ({} to {})", number(value), number(low), number(high)),
        None => number(value),
    }
}

/// A row a pair and measure of those that a reader asks for first.
fn comparisons(text: &mut String, report: &Report) {
    if report.comparisons.is_empty() {
        return;
    }
    line(text, format_args!("## Comparisons"));
    line(
        text,
        format_args!(
            "The second model less the first, to the same prompts; p of the sign-flip test, corrected for all \
         differences of the report by Holm. All measures and tests are in report.json."
        ),
    );
    let names = [
        "",
        "",
        "measure",
        "difference",
        "p (Holm)",
        "up / down",
        "at equal length",
    ];
    head(text, &names.map(str::to_owned));
    let leading = ["reward", "semantic", "style", "homogenization", "words"];
    for comparison in &report.comparisons {
        let values = comparison.values.iter().zip(&report.measures);
        for ((_, difference), measure) in values.filter(|(_, m)| leading.contains(&m.name)) {
            let Some(found) = difference else { continue };
            let equal = found.at_equal_length.map_or_else(
                || "n/a".to_owned(),
                |at| interval(at.difference, Some((at.low, at.high))),
            );
            row(
                text,
                &[
                    cell(&comparison.a),
                    cell(&comparison.b),
                    measure.title.to_owned(),
                    interval(found.difference, Some((found.low, found.high))),
                    probability(found.holm),
                    format!("{} / {}", found.up, found.down),
                    equal,
                ],
            );
        }
    }
    text.push('\n');
}

/// A row a pair of models, how far their texts to the same prompts lie apart.
fn likeness(text: &mut String, report: &Report) {
    if report.likeness.is_empty() {
        return;
    }
    line(text, format_args!("## Likeness"));
    line(
        text,
        format_args!(
            "How far texts of two models to the same prompt lie apart (1 - cosine); a model and itself: \
             within it. Over the prompts that all models answered, where there are any."
        ),
    );
    let names = ["", "", "space", "distance", "prompts"];
    head(text, &names.map(str::to_owned));
    for found in &report.likeness {
        row(
            text,
            &[
                cell(&found.a),
                cell(&found.b),
                found.space.to_owned(),
                interval(found.distance, found.low.zip(found.high)),
                found.prompts.to_string(),
            ],
        );
    }
    text.push('\n');
}

fn inputs(text: &mut String, report: &Report) {
    line(text, format_args!("## Inputs"));
    head(text, &["file", "texts", "SHA-256"].map(str::to_owned));
    for input in &report.inputs {
        row(
            text,
            &[
                cell(&input.file),
                input.responses.to_string(),
                input.sha256.clone(),
            ],
        );
    }
    text.push('\n');
    let options = report
        .options
        .iter()
        .map(|(name, value)| format!("{name} {value}"));
    let versions = report
        .made_with
        .iter()
        .map(|(name, version)| format!("{name} {version}"));
    line(
        text,
        format_args!(
            "Made by {}; {}.",
            versions.collect::<Vec<_>>().join(", "),
            options.collect::<Vec<_>>().join(", ")
        ),
    );
}

/// Four digits that count.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 1.0 => 3,
        _ => 4,
    };
    format!("{value:.digits$}")
}

fn probability(p: f64) -> String {
    if p < 0.0001 {
        "< 0.0001".to_owned()
    } else {
        format!("{p:.4}")
    }
}

/// Text that breaks no table and is no markup.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' | '<' | '>' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' | '!' => {
                safe.push('\\');
                safe.push(letter);
            }
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}
