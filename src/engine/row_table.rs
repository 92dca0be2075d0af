//! Row tables: files in SQL, as `FROM 'stories.csv'`, read by the row reader.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{DynamicFileCatalog, TableProvider, UrlTableFactory};
use datafusion::datasource::dynamic_file::DynamicListTableFactory;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;

use crate::{Error, Result};
use polyphony_io::format::{Format, RowFile};
use polyphony_io::progress::NoProgress;
use polyphony_io::records::{TableSchema, read_batches};

/// A text file of rows as a table. It is streamed twice, once to infer its column types and once for
/// the rows, so it is never in memory completely.
///
/// # Errors
/// When the file cannot be read, or has a malformed row.
pub fn open(path: &Path) -> Result<Arc<dyn TableProvider>> {
    let file = RowFile::open(path)?;
    let columns = TableSchema::infer(&file, &NoProgress)?;
    let schema = columns.arrow();
    let rows = Rows {
        file,
        columns,
        schema: Arc::clone(&schema),
    };
    Ok(Arc::new(StreamingTable::try_new(
        schema,
        vec![Arc::new(rows)],
    )?))
}

/// Enables file names in SQL for a session: `FROM 'stories.csv'`.
pub fn enable(context: &SessionContext) -> SessionContext {
    let listing = Arc::new(DynamicListTableFactory::default());
    let tables = Arc::clone(context.state_ref().read().catalog_list());
    let files = Files(Arc::clone(&listing));
    let catalog = Arc::new(DynamicFileCatalog::new(tables, Arc::new(files)));
    let state = SessionStateBuilder::new_from_existing(context.state()).with_catalog_list(catalog);
    let context = SessionContext::new_with_state(state.build());
    listing.session_store().with_state(context.state_weak_ref());
    context
}

#[derive(Debug)]
struct Rows {
    file: RowFile,
    columns: TableSchema,
    schema: SchemaRef,
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        let sender = stream.tx();
        let (file, columns) = (self.file.clone(), self.columns.clone());
        stream.spawn_blocking(move || {
            let mut closed = false;
            let read = read_batches(&file, &columns, &NoProgress, &mut |batch| {
                closed = sender.blocking_send(Ok(batch)).is_err();
                // Sending fails when the query needs no more rows, as with LIMIT.
                if closed {
                    return Err(Error::Cancelled("the query ended".to_owned()));
                }
                Ok(())
            });
            if closed {
                Ok(())
            } else {
                read.map_err(DataFusionError::from)
            }
        });
        stream.build()
    }
}

/// Table factory for file names in SQL: text files are read by the row reader; Parquet files, folders,
/// URLs and glob patterns (`*.parquet`) by DataFusion.
#[derive(Debug)]
struct Files(Arc<DynamicListTableFactory>);

impl UrlTableFactory for Files {
    fn try_new<'a, 'b, 'c>(
        &'a self,
        url: &'b str,
    ) -> Pin<Box<dyn Future<Output = DataFusionResult<Option<Arc<dyn TableProvider>>>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let path = Path::new(url);
            if path.is_file() {
                let file = RowFile::open(path)?;
                if file.format != Format::Parquet {
                    return open_off_thread(path).await.map(Some);
                }
            } else if !path.exists() && names_a_file(url) {
                return Err(Error::input(url, "no such file", "check the path").into());
            }
            self.0.try_new(url).await
        })
    }
}

async fn open_off_thread(path: &Path) -> DataFusionResult<Arc<dyn TableProvider>> {
    let path = path.to_path_buf();
    let opened = tokio::task::spawn_blocking(move || open(&path)).await;
    let opened = opened.map_err(|error| DataFusionError::External(Box::new(error)))?;
    Ok(opened?)
}

/// Whether a name denotes a local file, not a table, a URL or a glob pattern.
fn names_a_file(name: &str) -> bool {
    let is_pattern = name.contains(['*', '?', '[']);
    name.contains(['.', '/']) && !name.contains("://") && !is_pattern
}
