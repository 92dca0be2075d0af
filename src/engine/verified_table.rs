//! Verified table: a table of a store whose parts are compared with the manifest before a query reads them.

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::store::TableParts;

/// A table of Parquet parts. It cannot be written by SQL: only a commit changes a store.
#[derive(Debug)]
pub(crate) struct VerifiedTable {
    table: Arc<dyn TableProvider>,
    parts: TableParts,
}

impl VerifiedTable {
    /// The table `table`, which reads `parts`.
    pub(crate) fn new(table: Arc<dyn TableProvider>, parts: TableParts) -> Self {
        Self { table, parts }
    }
}

impl TableProvider for VerifiedTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    fn scan<'a, 'b, 'c, 'd, 'e>(
        &'a self,
        state: &'b dyn Session,
        projection: Option<&'c Vec<usize>>,
        filters: &'d [Expr],
        limit: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<dyn ExecutionPlan>>> + Send + 'e>>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
        Self: 'e,
    {
        Box::pin(async move {
            let parts = self.parts.clone();
            let verified = tokio::task::spawn_blocking(move || parts.verified()).await;
            verified.map_err(|error| DataFusionError::External(Box::new(error)))??;
            self.table.scan(state, projection, filters, limit).await
        })
    }
}
