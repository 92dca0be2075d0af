//! Part writer: a Parquet file of a table, written under a temporary name, then renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::encode::Encoder;
use super::manifest::Part;
use crate::{Error, Result};
use polyphony_io::atomic::sync_folder;
use polyphony_io::beside::PARQUET_WRITER;
use polyphony_io::hash::{Sha256, hex};

/// The rows of a row group. Small groups let readers run in parallel with little memory.
const ROWS_A_GROUP: usize = 8_192;

/// The size of a page of texts in bytes, and the number of texts between two checks of that size. Small
/// pages stay in a core's cache while they are filled and compressed.
const BYTES_A_PAGE: usize = 128 << 10;
const TEXTS_A_BATCH: usize = 8;

/// The rows of a row group of vectors: 4,096 x 1,024 values are 16 MiB.
const VECTORS_A_GROUP: usize = 4_096;

/// Writer of one part. If it is dropped before [`PartWriter::finish`], it removes its temporary file.
pub struct PartWriter {
    encoder: Option<Encoder<Hashing>>,
    schema: SchemaRef,
    temporary: PathBuf,
    path: PathBuf,
    rows: u64,
}

impl PartWriter {
    /// Creates `folder/name.parquet`.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(folder: &Path, name: &str, schema: SchemaRef) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        let path = folder.join(format!("{name}.parquet"));
        let temporary = folder.join(format!("{name}.parquet.tmp"));
        let file = File::create(&temporary).map_err(Error::io("write", &path))?;
        let hashing = Hashing {
            inner: BufWriter::with_capacity(1 << 20, file),
            hasher: Sha256::new(),
            bytes: 0,
            synced: 0,
            syncing: None,
        };
        let (properties, rows_a_group) = properties(&schema)?;
        let encoder = Encoder::new(hashing, SchemaRef::clone(&schema), properties, rows_a_group)?;
        Ok(Self {
            encoder: Some(encoder),
            schema,
            temporary,
            path,
            rows: 0,
        })
    }

    /// Writes a batch; columns that differ from the part's schema only in representation are cast.
    ///
    /// # Errors
    /// When a column does not fit the schema, or the disk is full.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = fit(batch, &self.schema)?;
        self.rows += batch.num_rows() as u64;
        if let Some(encoder) = &mut self.encoder {
            encoder
                .write(batch)
                .map_err(|error| name_path(error, &self.path))?;
        }
        Ok(())
    }

    /// Completes the file and renames it to its final name.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(mut self) -> Result<Part> {
        let named = |error| name_path(error, &self.path);
        let Some(encoder) = self.encoder.take() else {
            let path = self.path.display();
            return Err(Error::Internal(format!("{path} was finished twice")));
        };
        let mut hashing = encoder.finish().map_err(named)?;
        let synced = hashing
            .inner
            .flush()
            .and_then(|()| hashing.syncing.take().map_or(Ok(()), joined))
            .and_then(|()| hashing.inner.get_ref().sync_all());
        synced.map_err(Error::io("write", &self.path))?;
        fs::rename(&self.temporary, &self.path)
            .and_then(|()| sync_folder(&self.path))
            .map_err(Error::io("write", &self.path))?;
        Ok(Part {
            file: self
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            rows: self.rows,
            bytes: hashing.bytes,
            sha256: hex(&hashing.hasher.finalize()),
        })
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        // After `finish` the temporary file no longer exists and this fails harmlessly.
        drop(fs::remove_file(&self.temporary));
    }
}

/// A batch cast to `schema`, where columns differ only in representation.
///
/// # Errors
/// When a column cannot be cast, or the number of columns differs.
pub fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| cast(column, field.data_type()))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
}

/// The Parquet properties of a part, and the rows of its row groups. Texts and vectors have neither
/// dictionary nor statistics, which would cost time without benefit.
fn properties(schema: &SchemaRef) -> Result<(WriterProperties, usize)> {
    let mut rows_a_group = ROWS_A_GROUP;
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("{PARQUET_WRITER}{}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?));
    for field in schema.fields() {
        let path = match field.data_type() {
            DataType::Utf8 if matches!(field.name().as_str(), "text" | "prompt" | "body") => {
                properties = properties
                    .set_write_batch_size(TEXTS_A_BATCH)
                    .set_data_page_size_limit(BYTES_A_PAGE);
                ColumnPath::from(field.name().as_str())
            }
            DataType::FixedSizeList(item, _) => {
                rows_a_group = VECTORS_A_GROUP;
                let path = vec![field.name().clone(), "list".to_owned(), item.name().clone()];
                let path = ColumnPath::new(path);
                properties = properties
                    .set_column_encoding(path.clone(), Encoding::PLAIN)
                    .set_column_compression(path.clone(), Compression::UNCOMPRESSED);
                path
            }
            _ => continue,
        };
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    Ok((properties.build(), rows_a_group))
}

/// An I/O error of the Parquet writer, as of a full disk, with the file's name added.
fn name_path(error: parquet::errors::ParquetError, path: &Path) -> Error {
    match error {
        parquet::errors::ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => Error::io("write", path)(*source),
            Err(source) => Error::Parquet(parquet::errors::ParquetError::External(source)),
        },
        other => Error::Parquet(other),
    }
}

/// The number of bytes after which written data is synced to disk in the background, so that little
/// remains to sync at the end.
const BYTES_A_SYNC: u64 = 64 << 20;

/// Writer that hashes and counts the bytes, and syncs them to disk in the background.
struct Hashing {
    inner: BufWriter<File>,
    hasher: Sha256,
    bytes: u64,
    synced: u64,
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl Hashing {
    /// Starts a background thread that syncs the bytes written so far; reports a failure of the
    /// previous sync.
    fn sync_on(&mut self) -> io::Result<()> {
        self.synced = self.bytes;
        if let Some(before) = self.syncing.take() {
            joined(before)?;
        }
        let file = self.inner.get_ref().try_clone()?;
        self.syncing = Some(thread::spawn(move || file.sync_data()));
        Ok(())
    }
}

fn joined(syncing: JoinHandle<io::Result<()>>) -> io::Result<()> {
    syncing
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("a writer stopped")))
}

impl Write for Hashing {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        if self.bytes - self.synced >= BYTES_A_SYNC {
            self.sync_on()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A batch whose string view columns are plain strings; DataFusion's readers return views.
///
/// # Errors
/// When Arrow cannot cast, which would be a bug of Arrow.
pub fn plain(batch: &RecordBatch) -> Result<RecordBatch> {
    let fields: Vec<_> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => {
                field.as_ref().clone().with_data_type(DataType::Utf8)
            }
            _ => field.as_ref().clone(),
        })
        .collect();
    fit(
        batch,
        &SchemaRef::new(arrow::datatypes::Schema::new(fields)),
    )
}
