//! JSON lines in SQL: registers the file endings `.jsonl` and `.ndjson` with DataFusion.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::GetExt;
use datafusion::datasource::file_format::json::JsonFormatFactory;
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::error::Result;

/// The endings of JSON lines files in addition to `.json`, which DataFusion has built in.
pub const ENDINGS: [&str; 2] = ["jsonl", "ndjson"];

/// A file format factory for JSON lines with another ending.
#[derive(Debug)]
pub struct JsonLines {
    format: JsonFormatFactory,
    ending: &'static str,
}

impl JsonLines {
    /// JSON lines with the ending `ending`.
    pub fn ending_in(ending: &'static str) -> Self {
        Self {
            format: JsonFormatFactory::new(),
            ending,
        }
    }
}

impl GetExt for JsonLines {
    fn get_ext(&self) -> String {
        self.ending.to_owned()
    }
}

impl FileFormatFactory for JsonLines {
    fn create(
        &self,
        session: &dyn Session,
        options: &HashMap<String, String>,
    ) -> Result<Arc<dyn FileFormat>> {
        self.format.create(session, options)
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        FileFormatFactory::default(&self.format)
    }
}
