//! `polyphony embed`: embeddings of a store's responses or of a column of a file.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use polyphony_engine::embed::Embedder;
use polyphony_engine::embed::token_counts::TokenCounts;
use polyphony_engine::jobs::{embed_file, embed_store};
use polyphony_engine::store::Store;
use polyphony_model::device::DeviceSpec;
use polyphony_model::encoder::text_tokenizer::LongTexts;

use super::ingest::pipeline;
use super::terminal::{self, Bars};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A Parquet, JSON, CSV or TSV file, whose columns are kept
    #[arg(required_unless_present = "store", requires = "column")]
    file: Option<PathBuf>,
    /// The store whose responses are embedded
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    store: Option<PathBuf>,
    /// The column of texts in FILE
    #[arg(long, value_name = "NAME", requires = "file")]
    column: Option<String>,
    /// builtin:words, builtin:style, a folder, or a hub id `OWNER/NAME[@REVISION]`; `#TASK` behind
    /// it chooses an adapter of jina-embeddings-v3
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Where the model runs: cpu, cuda:0, or several as cuda:0,cuda:1; cuda:0:f16 on GPUs without bf16
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Texts of more tokens than the model reads: truncate, as sentence-transformers does, or mean (the vectors of
    /// all windows of that length, averaged by their tokens)
    #[arg(long, value_name = "truncate|mean", default_value = "truncate", value_parser = long_texts(), hide_possible_values = true)]
    long_texts: LongTexts,
    /// Commit vectors after this many texts: a killed run loses at most as many. With another number
    /// FILE is embedded from its start [default: about a minute of work]
    #[arg(long, value_name = "TEXTS", value_parser = clap::value_parser!(u32).range(1..))]
    shard_size: Option<u32>,
    /// Where FILE goes with the column `embedding` [default: FILE with the ending
    /// .embedded.parquet]
    #[arg(long, value_name = "FILE", requires = "file")]
    out: Option<PathBuf>,
    /// A folder of SQL files that replace the built-in ones
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    sql: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let progress = Bars::default();
    let shard = |embedder: &Embedder| match arguments.shard_size {
        Some(texts) => texts as usize,
        None => embedder.default_shard_size(),
    };
    let load = || -> anyhow::Result<Embedder> {
        let devices = devices(&arguments.device)?;
        let embedder = Embedder::named(&arguments.model, &devices, arguments.long_texts)?;
        Ok(embedder)
    };
    if let Some(folder) = arguments.store {
        Store::open(&folder)?;
        let embedder = load()?;
        let pipeline = pipeline(arguments.sql)?;
        let mut store = Store::lock(&folder)?;
        let texts = embed_store::EmbedOptions {
            scope: embed_store::Scope::Store,
            shard_size: shard(&embedder),
        };
        let new = embed_store::run(&mut store, &embedder, &pipeline, &texts, &progress).await?;
        let table = embed_store::table_of(&embedder);
        let all = store.manifest().rows(&table);
        terminal::result(&format!(
            "{new} new vectors, {all} in total, in table {table}"
        ));
        let tokens = embed_store::token_counts(&store, &embedder, &pipeline).await?;
        tell_long_texts(&tokens, &embedder);
    } else if let (Some(path), Some(column)) = (arguments.file, arguments.column) {
        let embedder = load()?;
        let out = arguments
            .out
            .unwrap_or_else(|| embed_file::default_out(&path));
        let texts = embed_file::FileColumn {
            file: &path,
            column: &column,
            shard_size: shard(&embedder),
        };
        let manifest = embed_file::embed_file(&texts, &embedder, &out, &progress).await?;
        let rows = manifest.rows;
        terminal::result(&format!("{rows} rows with vectors in {}", out.display()));
        tell_long_texts(&manifest.tokens, &embedder);
    }
    Ok(())
}

/// Tells how many texts were truncated or embedded in windows.
fn tell_long_texts(tokens: &TokenCounts, embedder: &Embedder) {
    let notices = [
        tokens.truncation_notice(embedder),
        tokens.window_notice(embedder),
    ];
    for notice in notices.iter().flatten() {
        terminal::print_message(notice);
    }
}

/// The parser of `--long-texts`.
pub(crate) fn long_texts() -> impl TypedValueParser<Value = LongTexts> {
    PossibleValuesParser::new(LongTexts::NAMES).try_map(|name| LongTexts::named(&name))
}

/// Parses a comma-separated list of devices, which must have the same number type.
pub(crate) fn devices(list: &str) -> anyhow::Result<Vec<DeviceSpec>> {
    let devices = list.split(',').map(|name| DeviceSpec::parse(name.trim()));
    let devices: Vec<DeviceSpec> = devices.collect::<Result<_, _>>()?;
    let has_same_dtype = |device: &DeviceSpec| device.dtype() == devices[0].dtype();
    anyhow::ensure!(
        devices.len() == 1
            || (!devices.contains(&DeviceSpec::Cpu) && devices.iter().all(has_same_dtype)),
        "--device {list}: all devices must have one precision: name GPUs of one precision, or cpu \
         alone"
    );
    Ok(devices)
}
