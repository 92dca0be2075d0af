//! Folder of a report: what is there already is of an earlier report, or the report is refused.

use std::path::Path;

use polyphony_engine::Result;
use polyphony_io::beside::{has_field, refuse_foreign, refuse_foreign_parquet, refuse_input};

use super::FORMAT;
use crate::outputs::Input;

/// The texts and numbers of a report; `report.json` tells that the others are a report's.
const TEXTS: [&str; 3] = ["report.json", "report.md", "report.html"];

/// The tables of a report; an evaluation that was stopped leaves some of them, without a report.
const TABLES: [&str; 4] = [
    "outputs.parquet",
    "semantic.parquet",
    "style.parquet",
    "values.parquet",
];

/// Fails if the report would replace one of its inputs, or a file that is not of a report.
///
/// # Errors
/// When it would, or a file cannot be read.
pub(crate) fn refuse_foreign_files(out: &Path, inputs: &[Input]) -> Result<()> {
    for file in TABLES.into_iter().chain(TEXTS).map(|name| out.join(name)) {
        for input in inputs {
            refuse_input(&file, Path::new(&input.path))?;
        }
    }
    let is_report = |bytes: &[u8]| has_field(bytes, "format", Some(FORMAT));
    refuse_foreign(&out.join(TEXTS[0]), is_report)?;
    if !out.join(TEXTS[0]).exists() {
        for text in TEXTS {
            refuse_foreign(&out.join(text), |_| false)?;
        }
    }
    for table in TABLES {
        refuse_foreign_parquet(&out.join(table))?;
    }
    Ok(())
}
