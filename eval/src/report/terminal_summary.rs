//! Terminal summary: a table with one line per model and the leading measures, and, with gold, a table of how
//! often a model's stories are closer than people's, and a line per model with its overused terms.

use super::Report;
use super::number::{number, percent};
use crate::space::Space;

const COLUMNS: [(&str, &str); 6] = [
    ("reward", "reward"),
    ("semantic", "semantic"),
    ("style", "style"),
    ("homogenization", "homogenization"),
    ("self_bleu", "self-BLEU"),
    ("words", "words"),
];

/// The number of overused terms that a line names.
const TERMS: usize = 5;

/// Formats the tables.
pub fn terminal_summary(report: &Report) -> String {
    let head = std::iter::once("model").chain(COLUMNS.iter().map(|(_, title)| *title));
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).collect()];
    for model in &report.models {
        let values = COLUMNS.iter().map(|(name, _)| {
            let value = model.value(name);
            value.map_or_else(|| "n/a".to_owned(), |value| number(value.mean))
        });
        rows.push(
            std::iter::once(plain(&model.marked_name()))
                .chain(values)
                .collect(),
        );
    }
    let mut text = table(&rows);
    if let Some(shares) = closer_than_people(report) {
        text.push_str(
            "\n\npairs of a model's stories that are closer than two people's to the same prompt \
             (50 % = as diverse as people)\n",
        );
        text.push_str(&table(&shares));
    }
    if !report.overused_terms.is_empty() {
        text.push_str(
            "\n\nwords and phrases that a model uses more than people do (p < 0.05 after Benjamini-Hochberg)\n",
        );
        text.push_str(&overused_terms(report).join("\n"));
    }
    text
}

/// A line per model: the number of its overused terms, and the first ones.
fn overused_terms(report: &Report) -> Vec<String> {
    let entries = report.overused_terms.iter();
    let width = entries
        .clone()
        .map(|entry| plain(&entry.model).chars().count());
    let width = width.max().unwrap_or_default();
    let lines = entries.map(|entry| {
        let terms = entry.terms.iter().take(TERMS);
        let terms: Vec<String> = terms
            .map(|term| format!("\"{}\"", term.term.term))
            .collect();
        let shown = match terms.len() {
            0 => format!("none of {} tested", entry.tested),
            few if few == entry.overused => terms.join(", "),
            _ => format!("{}, ... ({} terms)", terms.join(", "), entry.overused),
        };
        format!("{:<width$}  {shown}", plain(&entry.model))
    });
    lines.collect()
}

/// The rows of the table of shares, one per model; `None` without gold.
fn closer_than_people(report: &Report) -> Option<Vec<Vec<String>>> {
    let own = |model: &str, space: Space| {
        let mut entries = report.closer_than_people.iter();
        let entry = entries
            .find(|entry| entry.a == model && entry.b == model && entry.space == space.name());
        entry.map_or_else(
            || "n/a".to_owned(),
            |entry| match entry.ci_low.zip(entry.ci_high) {
                Some((low, high)) => {
                    let (low, high) = (percent(low), percent(high));
                    format!("{} ({low} to {high})", percent(entry.share))
                }
                None => percent(entry.share),
            },
        )
    };
    if report.closer_than_people.is_empty() {
        return None;
    }
    let mut rows = vec![["model", "semantic", "style"].map(str::to_owned).to_vec()];
    for model in report.models.iter().filter(|model| !model.gold) {
        let shares = Space::ALL.map(|space| own(&model.name, space));
        rows.push([vec![plain(&model.name)], shares.to_vec()].concat());
    }
    Some(rows)
}

/// A name without control characters.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).collect()
}

/// Aligns the columns of a table: the first to the left, the others to the right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(at, (cell, &width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    });
    lines.collect::<Vec<_>>().join("\n")
}
