//! SQL session: DataFusion with the store's tables, all functions, and a memory limit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::json_lines::{self, JsonLines};
use crate::store::Store;
use crate::verified_table::VerifiedTable;
use crate::{Error, Result, functions, schema, sql};
use polyphony_io::records;

/// The name of the table of ingested files.
const SOURCES: &str = "sources";

/// The memory limit of a session. Operators that sort or join spill to disk above it.
#[derive(Debug, Clone, Copy)]
pub struct MemoryLimit {
    memory: Option<usize>,
}

impl MemoryLimit {
    /// 1 GiB: for the steps of the pipeline.
    pub const fn pipeline() -> Self {
        Self {
            memory: Some(1 << 30),
        }
    }

    /// 256 MiB: for steps that read ids but no texts.
    pub const fn narrow() -> Self {
        Self {
            memory: Some(256 << 20),
        }
    }

    /// No limit unless `SET datafusion.runtime.memory_limit` sets one: for the interactive shell.
    pub const fn unbounded() -> Self {
        Self { memory: None }
    }
}

/// A session with all functions and no tables.
///
/// # Errors
/// When DataFusion cannot create it, as without a folder for spill files.
pub fn bare(limits: &MemoryLimit) -> Result<SessionContext> {
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(bytes) = limits.memory {
        runtime = runtime.with_memory_pool(Arc::new(FairSpillPool::new(bytes)));
    }
    let config = SessionConfig::new()
        .with_information_schema(true)
        // CSV fields may contain line breaks.
        .set_bool("datafusion.catalog.newlines_in_values", true)
        // The memory per partition that a merge of spilled runs reserves. The default leaves too little
        // for sorting.
        .set_usize("datafusion.execution.sort_spill_reservation_bytes", 4 << 20)
        .set_bool("datafusion.execution.parquet.pushdown_filters", true);
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_runtime_env(runtime.build_arc()?)
        .with_analyzer_rule(Arc::new(functions::whole_window::WholeWindow))
        .with_physical_optimizer_rule(Arc::new(functions::deviation::operator::Rule))
        .build();
    let context = SessionContext::new_with_state(state);
    for ending in json_lines::ENDINGS {
        let format = Arc::new(JsonLines::ending_in(ending));
        context
            .state_ref()
            .write()
            .register_file_format(format, true)?;
    }
    functions::register_all(&context)?;
    Ok(context)
}

/// A session with the store's tables.
///
/// # Errors
/// As [`bare`], or when a part of the store cannot be read.
pub fn with_store(store: &Store, limits: &MemoryLimit) -> Result<SessionContext> {
    let context = bare(limits)?;
    let empty = [
        (schema::NEAR_DUPLICATES, schema::near_duplicates()),
        (schema::EVAL_PROMPTS, schema::eval_prompts()),
        (schema::DEVIATIONS, schema::deviations()),
        (schema::WEIGHTS, schema::weights()),
    ];
    // Known schemas: without them the first part is read for its own, and so verified, in each session.
    let made = [
        (schema::PAIRS, schema::pairs()),
        (schema::SFT, schema::sft()),
    ];
    for (table, schema) in schema::ingested().into_iter().chain(empty) {
        register_as(&context, store, table, table, Some(schema))?;
    }
    for table in store.manifest().tables.keys() {
        if !context.table_exist(table)? {
            let known = made.iter().find(|(name, _)| name == table);
            let schema = known.map(|(_, schema)| SchemaRef::clone(schema));
            register_as(&context, store, table, table, schema)?;
        }
    }
    context.register_table(SOURCES, sources(store)?)?;
    Ok(context)
}

/// Registers a table of the store under a name. A table without parts is registered as empty if
/// `schema` is set, otherwise not at all.
///
/// # Errors
/// When a part cannot be read.
pub fn register_as(
    context: &SessionContext,
    store: &Store,
    table: &str,
    name: &str,
    schema: Option<SchemaRef>,
) -> Result<()> {
    let parts = store.table(table);
    let schema = match schema {
        Some(schema) => schema,
        None => match parts.first().verified()?.first() {
            Some(first) => SchemaRef::clone(records::parquet(first)?.schema()),
            None => return Ok(()),
        },
    };
    let files: Vec<PathBuf> = parts.paths().map(Path::to_path_buf).collect();
    let table = VerifiedTable::new(provider(&files, schema)?, parts);
    context.register_table(name, Arc::new(table))?;
    Ok(())
}

/// Registers Parquet files as a table.
///
/// # Errors
/// When a file is missing.
pub(crate) fn register_files(
    context: &SessionContext,
    name: &str,
    files: &[PathBuf],
    schema: SchemaRef,
) -> Result<()> {
    context.register_table(name, provider(files, schema)?)?;
    Ok(())
}

/// Creates the views `quarantine` (all quarantined and pending rows with their reasons) and `prompt_posts`
/// (prompts with the ids of all their posts).
///
/// # Errors
/// When `00_quarantine.sql` or `06_prompt_posts.sql` fails.
pub async fn add_views(context: &SessionContext, pipeline: &sql::SqlPipeline) -> Result<()> {
    for (name, file) in [
        (schema::QUARANTINE, "00_quarantine.sql"),
        (schema::PROMPT_POSTS, "06_prompt_posts.sql"),
    ] {
        let script = pipeline.script(file)?;
        let view = script.frame(context, &sql::Options::new()).await?;
        context.deregister_table(name)?;
        context.register_table(name, view.into_view())?;
    }
    Ok(())
}

fn provider(files: &[PathBuf], schema: SchemaRef) -> Result<Arc<dyn TableProvider>> {
    let urls = files
        .iter()
        .map(|path| {
            // DataFusion would read a missing file as no rows, so this checks that it exists.
            let path = path.canonicalize().map_err(Error::io("read", path))?;
            file_url(&path)
        })
        .collect::<Result<Vec<_>>>()?;
    if urls.is_empty() {
        return Ok(Arc::new(MemTable::try_new(schema, vec![vec![]])?));
    }
    let options =
        ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
    let config = ListingTableConfig::new_with_multi_paths(urls)
        .with_listing_options(options)
        .with_schema(schema);
    Ok(Arc::new(ListingTable::try_new(config)?))
}

/// A path as a URL in which characters special to globs and URLs are escaped.
pub(crate) fn file_url(path: &Path) -> Result<ListingTableUrl> {
    let invalid = || Error::input(path, "cannot be written as a URL", "use another folder");
    let url = url::Url::from_file_path(path).map_err(|()| invalid())?;
    Ok(ListingTableUrl::try_new(url, None)?)
}

/// The ingested files as a table.
fn sources(store: &Store) -> Result<Arc<dyn TableProvider>> {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let integer = |name: &str| Field::new(name, DataType::Int64, false);
    let schema = Arc::new(Schema::new(vec![
        text("source", false),
        text("kind", false),
        integer("position"),
        text("sha256", false),
        integer("bytes"),
        integer("lines"),
        integer("other_subreddit"),
        text("truncated", true),
    ]));
    let entries = &store.manifest().sources;
    let count = |field: fn(&crate::store::SourceEntry) -> u64| -> ArrayRef {
        Arc::new(
            entries
                .iter()
                .map(|entry| i64::try_from(field(entry)).ok())
                .collect::<Int64Array>(),
        )
    };
    let texts = |field: fn(&crate::store::SourceEntry) -> Option<&str>| -> ArrayRef {
        Arc::new(entries.iter().map(field).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        texts(|entry| Some(&entry.name)),
        texts(|entry| Some(&entry.kind)),
        Arc::new((0..entries.len() as i64).collect::<Int64Array>()),
        texts(|entry| Some(&entry.sha256)),
        count(|entry| entry.bytes),
        count(|entry| entry.lines),
        count(|entry| entry.other_subreddit),
        texts(|entry| entry.truncated.as_deref()),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}
