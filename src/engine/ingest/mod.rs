//! Ingest: dumps and data sets into tables, file by file; unusable rows are quarantined with a reason.

pub mod dataset;
pub mod dump;
pub mod footer;
pub mod lenient;
pub mod minhash;
pub mod near_duplicates;
pub mod prompt_key;
pub mod reason;
pub mod reconcile;
pub mod reddit;
pub mod source;
pub mod table_builders;
pub mod tag;
pub mod text;

use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use parquet::arrow::ProjectionMask;
use serde_json::{Map, Value};

use self::reddit::{DumpFilter, KnownPrompts};
use self::source::{Detection, Found, Kind, Source};
use self::table_builders::{QuarantinedRow, TableBatches, TableBuilders};
use crate::store::{Manifest, PartWriter, SourceEntry, Store};
use crate::{Error, Result, schema, sql};
use polyphony_io::format::{Format, RowFile};
use polyphony_io::hash::{sha256_file, short_id};
use polyphony_io::lines::ReadOutcome;
use polyphony_io::progress::{Progress, Unit};
use polyphony_io::records::ReadOptions;
use polyphony_io::{format, records};
use tracing::{Instrument as _, info_span};

/// The options of an ingest run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The subreddit whose rows are read from dumps.
    pub subreddit: String,
    /// The submission tags that mark a prompt.
    pub prompt_tags: Vec<String>,
    /// The column mapping of tabular data sets.
    pub columns: Option<dataset::Columns>,
    /// Whether the footers of stories stay in their text.
    pub keep_footers: bool,
    /// The SQL files of the pipeline.
    pub pipeline: sql::SqlPipeline,
}

/// The summary of an ingest run.
#[derive(Debug, Default)]
pub struct Summary {
    /// The number of files that were read.
    pub read: usize,
    /// The files that were already in the store.
    pub already_ingested: Vec<String>,
    /// The files of folders and repositories that are of no known kind, with their columns.
    pub skipped: Vec<(String, String)>,
    /// The truncated files with the cause.
    pub truncated: Vec<(String, String)>,
}

/// Ingests files, folders and `hub:OWNER/NAME[@REVISION]` into the store in `folder`.
///
/// Each file is committed once it is read, so a killed run resumes with the next file. At the end
/// [`reconcile::reconcile`] moves duplicates and orphans.
///
/// # Errors
/// When a source cannot be used, another process writes to the store, or the disk is full.
pub async fn ingest(
    sources: &[String],
    folder: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Summary> {
    let options = &Options {
        prompt_tags: options
            .prompt_tags
            .iter()
            .map(|tag| tag.to_uppercase())
            .collect(),
        ..options.clone()
    };
    let Found { sources, skipped } = find(sources, options, progress)?;
    let mut store = Store::lock(folder)?;
    let mut summary = Summary {
        skipped,
        ..Summary::default()
    };
    let total = sources.iter().map(|source| source.file.bytes).sum();
    let mut done = 0;
    progress.start(
        &format!("ingesting {} files", sources.len()),
        Some(total),
        Unit::Bytes,
    );
    for source in &sources {
        if let Some(entry) = already_in(&store, source, options)? {
            summary.already_ingested.push(source.name.clone());
            if let Some(why) = &entry.truncated {
                summary.truncated.push((source.name.clone(), why.clone()));
            }
            done += source.file.bytes;
            progress.resume(done);
            continue;
        }
        let span = info_span!("ingest_file", file = source.name);
        let in_file = span.in_scope(|| {
            let progress = FileProgress {
                inner: progress,
                offset: done,
            };
            ingest_file(&mut store, source, options, &progress)
        });
        done += source.file.bytes;
        progress.set_position(done);
        let truncated = in_file?;
        summary.read += 1;
        if let Some(why) = truncated {
            summary.truncated.push((source.name.clone(), why));
        }
    }
    progress.finish();
    let moves = reconcile::fingerprint(&options.pipeline)?;
    let last_step = store.manifest().steps.get(reconcile::STEP);
    let changed = last_step.is_none_or(|step| step.fingerprint != moves.fingerprint);
    if summary.read > 0 || !store.manifest().complete || changed {
        let mut reconciled = reconcile::reconcile(&store, &options.pipeline, progress)
            .instrument(info_span!("reconcile"))
            .await?;
        near_duplicates::join_splits(&store, &mut reconciled, progress)?;
        reconciled.steps.insert(reconcile::STEP.to_owned(), moves);
        store.commit(reconciled)?;
    }
    Ok(summary)
}

/// Progress within one of several files: one progress bar counts the bytes of all files.
struct FileProgress<'a> {
    inner: &'a dyn Progress,
    /// The total size of the earlier files in bytes.
    offset: u64,
}

impl Progress for FileProgress<'_> {
    fn start(&self, _what: &str, _total: Option<u64>, _unit: Unit) {}
    fn set_position(&self, position: u64) {
        self.inner.set_position(self.offset + position);
    }
    fn set_rate(&self, rate: &str) {
        self.inner.set_rate(rate);
    }
    fn finish(&self) {}
    fn message(&self, line: &str) {
        self.inner.message(line);
    }
}

/// The files that the command-line arguments stand for.
fn find(arguments: &[String], options: &Options, progress: &dyn Progress) -> Result<Found> {
    let detection = match options.columns {
        Some(_) => Detection::Tabular,
        None => Detection::ByContent,
    };
    let mut paths = Vec::new();
    let mut of_hub = Found::default();
    for argument in arguments {
        match argument.strip_prefix("hub:") {
            Some(repository) => {
                for file in polyphony_model::hub::dataset(repository, progress)? {
                    of_hub.add(RowFile::open(&file.path)?, file.name, detection)?;
                }
            }
            None => paths.push(PathBuf::from(argument)),
        }
    }
    let mut found = source::find(&paths, detection)?;
    found.sources.extend(of_hub.sources);
    found.skipped.extend(of_hub.skipped);
    found.sort();
    let sources = &found.sources;
    if let Some(columns) = &options.columns {
        for source in sources.iter().filter(|source| source.kind == Kind::Tabular) {
            let has = records::columns_of(&source.file.path, source.file.format)?;
            if has.is_empty() {
                return Err(source::no_rows(&source.file.path));
            }
            if let Some(missing) = columns
                .names()
                .into_iter()
                .find(|name| !has.iter().any(|column| column == name))
            {
                return Err(Error::Unknown {
                    what: "column",
                    given: missing.to_owned(),
                    known: format!(
                        "the columns of {}: {}",
                        source.name,
                        format::quoted_list(&has)
                    ),
                });
            }
        }
    }
    Ok(found)
}

/// The manifest entry of a file that was ingested before with the same options.
fn already_in<'a>(
    store: &'a Store,
    source: &Source,
    options: &Options,
) -> Result<Option<&'a SourceEntry>> {
    let settings = options_of(source, options);
    let entries = store.manifest().sources.iter();
    let mut candidates = entries
        .filter(|entry| entry.bytes == source.file.bytes && entry.options == settings)
        .peekable();
    if candidates.peek().is_none() {
        return Ok(None);
    }
    let sha256 = sha256_file(&source.file.path)?;
    Ok(candidates.find(|entry| entry.sha256 == sha256))
}

/// Reads one file and commits its rows; returns the cause if the file is truncated.
fn ingest_file(
    store: &mut Store,
    source: &Source,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Option<String>> {
    let mut manifest = store.manifest().clone();
    let (name, prefix) = assign_source_name(&mut manifest, source);
    let source = &Source {
        name,
        ..source.clone()
    };
    let mut parts = PartWriters {
        store,
        prefix: &prefix,
        writers: [None, None, None, None],
        skipped: 0,
        lines: 0,
    };
    let outcome = if source.kind.is_dump() {
        let filter = DumpFilter::new(
            &options.subreddit,
            &options.prompt_tags,
            options.keep_footers,
        );
        let prompts = match source.kind {
            Kind::Comments => known_prompts(store)?,
            _ => KnownPrompts::new(),
        };
        let path = &source.file.path;
        if source.file.format == Format::JsonLines && records::is_json_lines(path)? {
            let write = &mut |rows| parts.write(&rows);
            dump::read(source, &filter, &prompts, progress, write)?
        } else {
            // The rows of a dump that was saved as an array or a table.
            read_rows(source, &mut parts, progress, &mut |line, object, rows| {
                let json = serde_json::to_vec(object)?;
                match source.kind {
                    Kind::Submissions => reddit::submission(line, &json, &filter, rows),
                    _ => reddit::comment(line, &json, &filter, &prompts, rows),
                }
                Ok(())
            })?
        }
    } else {
        let mut reader = dataset::Reader::new(
            source.kind,
            options.columns.as_ref(),
            &options.prompt_tags,
            options.keep_footers,
        );
        read_rows(source, &mut parts, progress, &mut |line, object, rows| {
            reader.row(line, object, rows);
            Ok(())
        })?
    };
    let (skipped, lines) = (parts.skipped, parts.lines);
    parts.finish(&mut manifest)?;
    manifest.sources.push(SourceEntry {
        name: source.name.clone(),
        sha256: outcome.sha256,
        bytes: source.file.bytes,
        kind: source.kind.name().to_owned(),
        options: options_of(source, options),
        lines,
        other_subreddit: skipped,
        truncated: outcome.truncated.clone(),
        prefix,
    });
    manifest.complete = false;
    store.commit(manifest)?;
    Ok(outcome.truncated)
}

/// The parser of a row: its line, its fields, and the tables to which it is added.
type ParseRow<'a> = dyn FnMut(i64, &Map<String, Value>, &mut TableBuilders) -> Result<()> + 'a;

/// Reads a file row by row and writes its tables.
fn read_rows(
    source: &Source,
    parts: &mut PartWriters<'_>,
    progress: &dyn Progress,
    parse: &mut ParseRow<'_>,
) -> Result<ReadOutcome> {
    let name = source.name.as_str().into();
    let mut rows = TableBuilders::new(&name);
    let outcome = records::read(
        &source.file,
        &ReadOptions::default(),
        progress,
        &mut |(line, object)| {
            rows.lines += 1;
            match object {
                Ok(object) => parse(line, &object, &mut rows)?,
                Err(text) => rows.quarantine(
                    line,
                    &QuarantinedRow {
                        reason: reason::Reason::MalformedLine,
                        id: None,
                        retrieved_at: None,
                        text,
                    },
                ),
            }
            if rows.lines.is_multiple_of(1024) {
                let full = std::mem::replace(&mut rows, TableBuilders::new(&name));
                parts.write(&full.finish()?)?;
            }
            Ok(())
        },
    )?;
    parts.write(&rows.finish()?)?;
    Ok(outcome)
}

/// The parts for one file's rows, each created with its first row.
struct PartWriters<'a> {
    store: &'a Store,
    prefix: &'a str,
    writers: [Option<PartWriter>; 4],
    skipped: u64,
    lines: u64,
}

impl PartWriters<'_> {
    fn write(&mut self, rows: &TableBatches) -> Result<()> {
        self.skipped += rows.skipped;
        self.lines += rows.lines;
        let tables = schema::ingested();
        for ((slot, batch), (table, schema)) in
            self.writers.iter_mut().zip(&rows.batches).zip(tables)
        {
            let Some(batch) = batch else {
                continue;
            };
            if slot.is_none() {
                *slot = Some(self.store.part(table, self.prefix, schema)?);
            }
            if let Some(writer) = slot {
                writer.write(batch)?;
            }
        }
        Ok(())
    }

    fn finish(self, manifest: &mut Manifest) -> Result<()> {
        for (writer, (table, _)) in self.writers.into_iter().zip(schema::ingested()) {
            if let Some(writer) = writer {
                manifest.add(table, writer.finish()?);
            }
        }
        Ok(())
    }
}

/// The source name of a file's rows and the prefix of its part names. A complete file replaces a
/// truncated file of the same name. Any other file with a name that is already in the store (from
/// another folder, a newer version, other options) is added as `NAME#2`, so that no earlier rows are
/// lost.
fn assign_source_name(manifest: &mut Manifest, source: &Source) -> (String, String) {
    let is_namesake = |entry: &SourceEntry| {
        let rest = entry.name.strip_prefix(source.name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
    };
    let entries = &manifest.sources;
    let truncated = entries
        .iter()
        .position(|entry| is_namesake(entry) && entry.truncated.is_some());
    let hash = short_id(&[source.kind.name(), &source.name]);
    let numbers = entries
        .iter()
        .filter(|entry| is_namesake(entry))
        .filter_map(|entry| {
            entry
                .prefix
                .rsplit_once('-')
                .and_then(|(_, number)| number.parse::<u32>().ok())
        });
    // The parts of a replaced file exist until the commit, so their number is not reused.
    let number = numbers.max().map_or(0, |last| last + 1);
    let name = match truncated.map(|index| manifest.sources.remove(index)) {
        Some(entry) => {
            for parts in manifest.tables.values_mut() {
                parts.retain(|part| !part.file.starts_with(&entry.prefix));
            }
            entry.name
        }
        None if number == 0 => source.name.clone(),
        None => format!("{}#{}", source.name, number + 1),
    };
    (name, format!("{hash}-{number}"))
}

/// The options that affect the file's rows, for the manifest.
fn options_of(source: &Source, options: &Options) -> String {
    let tags = options.prompt_tags.join(",");
    let settings = match (source.kind, &options.columns) {
        (Kind::Submissions | Kind::Comments, _) => {
            format!("subreddit={} tags={tags}", options.subreddit)
        }
        (Kind::Tabular, Some(columns)) => format!("{columns:?} tags={tags}"),
        _ => format!("tags={tags}"),
    };
    if options.keep_footers {
        format!("{settings} footers=kept")
    } else {
        settings
    }
}

/// The ids of the prompts in the store.
fn known_prompts(store: &Store) -> Result<KnownPrompts> {
    let mut prompts = KnownPrompts::new();
    for path in store.table(schema::PROMPTS).verified()? {
        let builder = records::parquet(&path)?;
        let only_ids = ProjectionMask::leaves(builder.parquet_schema(), [0]);
        for batch in builder.with_projection(only_ids).build()? {
            let batch = batch?;
            let ids = batch.column(0).as_string::<i32>();
            prompts.extend(ids.iter().flatten().filter_map(reddit::number));
        }
    }
    Ok(prompts)
}
