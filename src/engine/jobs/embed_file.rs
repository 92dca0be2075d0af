//! Embedding job over a file: a column of texts, in shards next to the output, joined at the end, with a manifest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::prelude::ParquetReadOptions;

use serde::{Deserialize, Serialize};

use super::embed_store::{Rebatcher, Throughput, embed_column};
use crate::embed::Embedder;
use crate::embed::token_counts::TokenCounts;
use crate::store::{PartWriter, StepEntry, Store};
use crate::{Error, Result, row_table, schema, session};
use polyphony_io::atomic::write_json;
use polyphony_io::beside;
use polyphony_io::format::{Format, RowFile};
use polyphony_io::hash::{Sha256, hex, sha256_file};
use polyphony_io::progress::Progress;
use polyphony_io::records;
use polyphony_model::encoder::text_tokenizer::LongTexts;

/// The name of the vector column.
pub const EMBEDDING: &str = "embedding";

/// The table of the finished shards during the job.
const SHARDS: &str = "embedded";

/// The input of the job: a file and one of its columns.
#[derive(Debug, Clone, Copy)]
pub struct FileColumn<'a> {
    /// A Parquet, JSON, CSV or TSV file.
    pub file: &'a Path,
    /// The name of the text column.
    pub column: &'a str,
    /// The shard size: the number of texts per commit.
    pub shard_size: usize,
}

/// The manifest of an output, written beside it as `.embedding.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of polyphony.
    pub polyphony: String,
    /// The name of the input file.
    pub file: String,
    /// The SHA-256 of the input file.
    pub file_sha256: String,
    /// The column of texts.
    pub column: String,
    /// The embedder's name.
    pub model: String,
    /// The embedder's revision.
    pub revision: String,
    /// How texts were read that are longer than `max_tokens`; none for an embedder without a maximum.
    pub long_texts: Option<LongTexts>,
    /// The embedder's maximum length of a text in tokens, special tokens included.
    pub max_tokens: Option<usize>,
    /// The tokens of the texts.
    pub tokens: TokenCounts,
    /// The number of rows.
    pub rows: u64,
    /// The SHA-256 of the output.
    pub sha256: String,
}

impl Manifest {
    /// The fields that are known before the texts are read; the others are empty.
    fn of_job(texts: &FileColumn<'_>, embedder: &Embedder) -> Self {
        let name = texts.file.file_name().unwrap_or_default();
        Self {
            polyphony: env!("CARGO_PKG_VERSION").to_owned(),
            file: name.to_string_lossy().into_owned(),
            file_sha256: String::new(),
            column: texts.column.to_owned(),
            model: embedder.name().to_owned(),
            revision: embedder.revision().to_owned(),
            long_texts: embedder.long_texts(),
            max_tokens: embedder.max_tokens(),
            tokens: TokenCounts::default(),
            rows: 0,
            sha256: String::new(),
        }
    }

    /// The manifest of an output; `None` if it has none, or the output has changed since.
    ///
    /// # Errors
    /// When the output cannot be read.
    pub fn of_output(out: &Path) -> Result<Option<Self>> {
        let manifest = fs::read(manifest_path(out)).ok();
        let manifest: Option<Self> = manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match manifest {
            Some(manifest) if manifest.sha256 == sha256_file(out)? => Ok(Some(manifest)),
            _ => Ok(None),
        }
    }
}

/// The path of an output's manifest.
fn manifest_path(out: &Path) -> PathBuf {
    out.with_extension("embedding.json")
}

/// Writes the rows of a file to `out` with an extra column for the vectors of its texts, and the manifest
/// beside it. A killed run resumes with the next shard.
///
/// # Errors
/// When the file cannot be read, the column is missing or not text, or the model fails.
pub async fn embed_file(
    texts: &FileColumn<'_>,
    embedder: &Embedder,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Manifest> {
    let (file, text) = (texts.file, texts.column);
    let stem = parquet_stem(out)?;
    beside::refuse_input(out, file)?;
    let rows = read(file).await?;
    let total = rows
        .clone()
        .count()
        .await
        .map_err(|error| unreadable(file, error))? as u64;
    if total == 0 {
        return Err(Error::input(file, "holds no rows", "name another file"));
    }
    let schema = with_embedding(file, &rows, text, embedder)?;
    let file_sha256 = sha256_file(file)?;
    let mut hasher = Sha256::new();
    hasher.update(&file_sha256);
    for part in [text, embedder.name(), embedder.revision()] {
        hasher.update(format!("\n{part}"));
    }
    hasher.update(texts.shard_size.to_le_bytes());
    let fingerprint = hex(&hasher.finalize())[..16].to_owned();
    let folder = out.with_file_name(format!("{stem}.parts"));
    let mut store = Store::lock(&folder)?;
    if store.manifest().tables.keys().any(|table| table != SHARDS) {
        let hint = "choose another --out: the shards lie there while they are made";
        return Err(Error::store(&folder, "holds other tables", hint));
    }
    let mut manifest = store.manifest().clone();
    // Existing shards of another file, column or model must not be joined with this job's. The step of a shard
    // has its counts.
    let steps = &mut manifest.steps;
    steps.retain(|shard, _| shard.starts_with(&fingerprint));
    if let Some(parts) = manifest.tables.get_mut(SHARDS) {
        parts.retain(|part| steps.contains_key(part.file.trim_end_matches(".parquet")));
    }
    store.commit(manifest)?;
    let done = store.manifest().rows(SHARDS);
    if done > 0 {
        progress.message(&format!("{done} of {total} rows are embedded already"));
    }
    let meter = Throughput::begin(embedder, total - done.min(total), progress);
    let mut shards = Rebatcher::new(rows.execute_stream().await?, texts.shard_size);
    let mut number = 0;
    while let Some(shard) = shards.next().await? {
        let name = format!("{fingerprint}-{number:06}");
        number += 1;
        let committed = store.manifest().parts(SHARDS).iter();
        if committed
            .map(|part| &part.file)
            .any(|file| file.starts_with(&name))
        {
            continue;
        }
        let mut columns = shard.columns().to_vec();
        let column = shard.schema().index_of(text)?;
        let _span = tracing::info_span!("embed_shard", rows = shard.num_rows()).entered();
        let (vectors, tokens) = embed_column(shard.column(column), embedder, &meter)?;
        columns.push(vectors);
        let mut counts = TokenCounts::default();
        counts.add(&tokens);
        let mut writer = store.part(SHARDS, &name, SchemaRef::clone(&schema))?;
        writer.write(&RecordBatch::try_new(SchemaRef::clone(&schema), columns)?)?;
        let mut manifest = store.manifest().clone();
        manifest.add(SHARDS, writer.finish()?);
        let step = StepEntry {
            by: "embed".to_owned(),
            fingerprint: fingerprint.clone(),
            options: counts.to_options(),
        };
        manifest.steps.insert(name, step);
        store.commit(manifest)?;
    }
    meter.end();
    let tokens = counts_of_shards(&store);
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut writer = PartWriter::create(parent.unwrap_or(Path::new(".")), stem, schema)?;
    let mut shards = store.table(SHARDS).verified()?;
    // By number: a shard that was lost and made again is the last in the manifest.
    shards.sort();
    for part in shards {
        for batch in records::parquet(&part)?.build()? {
            writer.write(&batch?)?;
        }
    }
    let written = writer.finish()?;
    let manifest = Manifest {
        file_sha256,
        tokens,
        rows: written.rows,
        sha256: written.sha256,
        ..Manifest::of_job(texts, embedder)
    };
    write_json(&manifest_path(out), &manifest)?;
    store.remove()?;
    Ok(manifest)
}

/// The name of a Parquet file without its ending.
fn parquet_stem(out: &Path) -> Result<&str> {
    let is_parquet = out.extension().is_some_and(|end| end == "parquet");
    let stem = out.file_stem().filter(|_| is_parquet);
    stem.and_then(|stem| stem.to_str()).ok_or_else(|| {
        let hint = "the rows are written as Parquet, with the vectors as a column";
        Error::input(out, "output must end in .parquet", hint)
    })
}

/// The tokens of the texts of all shards.
fn counts_of_shards(store: &Store) -> TokenCounts {
    let shards = store.manifest().steps.values();
    let counts = shards.map(|shard| {
        let counts = shard.options.iter();
        let counts = counts.filter_map(|(name, n)| Some((name.as_str(), n.parse().ok()?)));
        TokenCounts::from_names(counts)
    });
    counts.fold(TokenCounts::default(), TokenCounts::plus)
}

/// The default output path: next to the input file.
pub fn default_out(file: &Path) -> PathBuf {
    file.with_extension("embedded.parquet")
}

/// The rows of a file, in file order.
async fn read(file: &Path) -> Result<DataFrame> {
    if !file.is_file() {
        return Err(Error::input(file, "no such file", "check the path"));
    }
    let context = session::bare(&session::MemoryLimit::pipeline())?;
    for setting in [
        "SET datafusion.execution.target_partitions = 1",
        "SET datafusion.execution.parquet.schema_force_view_types = false",
    ] {
        context.sql(setting).await?;
    }
    let source = RowFile::open(file)?;
    if source.format != Format::Parquet {
        return Ok(context.read_table(row_table::open(file)?)?);
    }
    records::parquet(file)?;
    // As a URL, so that `*`, `?` and `[` in the name are literal.
    let path = file.canonicalize().map_err(Error::io("read", file))?;
    let path = session::file_url(&path)?.to_string();
    let end = file
        .extension()
        .and_then(|end| end.to_str())
        .unwrap_or_default();
    let options = ParquetReadOptions::default();
    let frame = context
        .read_parquet(path, options.file_extension(&format!(".{end}")))
        .await;
    frame.map_err(|error| unreadable(file, error))
}

fn unreadable(file: &Path, error: DataFusionError) -> Error {
    let reason = Error::from(error);
    let hint = "check that its content fits its name";
    Error::input(file, format!("cannot be read ({reason})"), hint)
}

/// The schema of the output: the input's columns and the vector column, whose metadata names the model.
fn with_embedding(
    file: &Path,
    rows: &DataFrame,
    text: &str,
    embedder: &Embedder,
) -> Result<SchemaRef> {
    let fields = rows.schema().fields();
    let Some(column) = fields.iter().find(|field| field.name() == text) else {
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        return Err(Error::Unknown {
            what: "column",
            given: text.to_owned(),
            known: format!("{} in {}", names.join(", "), file.display()),
        });
    };
    if !matches!(
        column.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    ) {
        let message = format!("column `{text}` holds {}, not text", column.data_type());
        return Err(Error::input(
            file,
            message,
            "name a column of texts with --column",
        ));
    }
    if fields.iter().any(|field| field.name() == EMBEDDING) {
        let message = format!("has a column `{EMBEDDING}` already");
        return Err(Error::input(file, message, "rename or drop it first"));
    }
    let plain =
        crate::store::part::plain(&RecordBatch::new_empty(Arc::clone(rows.schema().inner())))?;
    let mut fields: Vec<Arc<Field>> = plain.schema().fields().iter().cloned().collect();
    let vector = Field::new(EMBEDDING, schema::vector(embedder.dimension() as i32), true);
    fields.push(Arc::new(vector.with_metadata(embedder.metadata())));
    Ok(Arc::new(Schema::new(fields)))
}
