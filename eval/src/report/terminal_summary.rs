//! Terminal summary: a table with one line per model and the leading measures.

use super::Report;
use super::number::number;

const COLUMNS: [(&str, &str); 6] = [
    ("reward", "reward"),
    ("semantic", "semantic"),
    ("style", "style"),
    ("homogenization", "homogenization"),
    ("self_bleu", "self-BLEU"),
    ("words", "words"),
];

/// Formats the table of models and leading measures.
pub fn terminal_summary(report: &Report) -> String {
    let head = std::iter::once("model").chain(COLUMNS.iter().map(|(_, title)| *title));
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).collect()];
    for model in &report.models {
        let values = COLUMNS.iter().map(|(name, _)| {
            let value = model.value(name);
            value.map_or_else(|| "n/a".to_owned(), |value| number(value.mean))
        });
        let name: String = model
            .name
            .chars()
            .filter(|letter| !letter.is_control())
            .collect();
        rows.push(std::iter::once(name).chain(values).collect());
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..=COLUMNS.len())
        .map(|at| width(at).unwrap_or(0))
        .collect();
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
