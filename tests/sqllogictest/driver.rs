//! SQL logic test driver: DataFusion, extended by the statement `RUN file WITH ... [INTO view]`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::PathBuf;

use datafusion_sqllogictest::{
    DFColumnType, DFOutput, DFSqlLogicTestError, DataFusion, convert_batches,
    convert_schema_to_types,
};
use indicatif::ProgressBar;
use polyphony_engine::datafusion::prelude::SessionContext;
use polyphony_engine::datafusion::scalar::ScalarValue;
use polyphony_engine::sql;

/// A driver with DataFusion and the statement `RUN file WITH ... [INTO view]`.
pub struct Polyphony {
    context: SessionContext,
    plain: DataFusion,
}

impl Polyphony {
    /// A driver for a session.
    pub fn new(context: SessionContext) -> Self {
        let plain = DataFusion::new(context.clone(), PathBuf::new(), ProgressBar::hidden());
        Self { context, plain }
    }

    async fn script(&self, call: &str) -> Result<DFOutput, DFSqlLogicTestError> {
        let (call, view) = match call.split_once(" INTO ") {
            Some((call, view)) => (call, Some(view.trim())),
            None => (call, None),
        };
        let (file, values) = call.split_once(" WITH ").unwrap_or((call, ""));
        let mut options = sql::Options::new();
        for pair in values.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, literal) = pair.split_once('=').unwrap();
            let row = self
                .context
                .sql(&format!("SELECT {literal}"))
                .await?
                .collect()
                .await?;
            let value = ScalarValue::try_from_array(row[0].column(0), 0)?;
            options.insert(name.trim().to_owned(), value);
        }
        let script = sql::SqlPipeline::built_in().script(file.trim()).unwrap();
        let frame = script
            .frame(&self.context, &options)
            .await
            .map_err(|error| DFSqlLogicTestError::Other(error.to_string()))?;
        if let Some(view) = view {
            self.context.register_table(view, frame.into_view())?;
            return Ok(DFOutput::StatementComplete(0));
        }
        let schema = frame.schema().inner().clone();
        let batches = frame.collect().await?;
        Ok(DFOutput::Rows {
            types: convert_schema_to_types(schema.fields()),
            rows: convert_batches(&schema, batches, false)?,
        })
    }
}

#[async_trait::async_trait]
impl sqllogictest::AsyncDB for Polyphony {
    type Error = DFSqlLogicTestError;
    type ColumnType = DFColumnType;

    async fn run(&mut self, sql: &str) -> Result<DFOutput, Self::Error> {
        match sql.strip_prefix("RUN ") {
            Some(call) => self.script(call).await,
            None => sqllogictest::AsyncDB::run(&mut self.plain, sql).await,
        }
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &'static str {
        "polyphony"
    }
}
