//! `polyphony embed`: which texts get vectors, of which model, on which device?

use std::path::PathBuf;

use clap::Args;
use polyphony_engine::embed::Embedder;
use polyphony_engine::jobs::{embed_file, embed_store};
use polyphony_engine::store::Store;
use polyphony_model::device::DeviceSpec;

use super::ingest::pipeline;
use super::terminal::{self, Bars};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A Parquet, JSONL or CSV file, whose columns stay
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
    /// Commit vectors after so many texts, which is what a killed run loses; with another number
    /// FILE starts over [default: a minute's work, or a few]
    #[arg(long, value_name = "TEXTS", value_parser = clap::value_parser!(u32).range(1..))]
    shard: Option<u32>,
    /// Where FILE goes with the column `embedding` [default: FILE with the ending
    /// .embedded.parquet]
    #[arg(long, value_name = "FILE", requires = "file")]
    out: Option<PathBuf>,
    /// SQL files that stand in for the built-in ones
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    sql: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let progress = Bars::default();
    let shard = |embedder: &Embedder| match arguments.shard {
        Some(texts) => texts as usize,
        None => embedder.default_shard_size(),
    };
    if let Some(folder) = arguments.store {
        Store::open(&folder)?;
        let embedder = Embedder::named(&arguments.model, &places(&arguments.device)?)?;
        let pipeline = pipeline(arguments.sql)?;
        let mut store = Store::lock(&folder)?;
        let texts = embed_store::Texts {
            of_all: true,
            shard_size: shard(&embedder),
        };
        let new = embed_store::run(&mut store, &embedder, &pipeline, &texts, &progress).await?;
        let table = embed_store::table_of(&embedder);
        let all = store.manifest().rows(&table);
        terminal::result(&format!(
            "{new} new vectors, {all} in all, in table {table}"
        ));
    } else if let (Some(path), Some(column)) = (arguments.file, arguments.column) {
        let embedder = Embedder::named(&arguments.model, &places(&arguments.device)?)?;
        let out = arguments
            .out
            .unwrap_or_else(|| embed_file::default_out(&path));
        let texts = embed_file::Texts {
            file: &path,
            column: &column,
            shard_size: shard(&embedder),
        };
        let rows = embed_file::embed_file(&texts, &embedder, &out, &progress).await?;
        terminal::result(&format!("{rows} rows with vectors in {}", out.display()));
    }
    Ok(())
}

/// The devices that a list of them names.
pub(crate) fn places(list: &str) -> anyhow::Result<Vec<DeviceSpec>> {
    let places = list.split(',').map(|name| DeviceSpec::named(name.trim()));
    let places: Vec<DeviceSpec> = places.collect::<Result<_, _>>()?;
    let alike = |place: &DeviceSpec| place.precision() == places[0].precision();
    anyhow::ensure!(
        places.len() == 1 || (!places.contains(&DeviceSpec::Cpu) && places.iter().all(alike)),
        "--device {list}: vectors of different precision do not mix: name GPUs of one precision, or \
         cpu alone"
    );
    Ok(places)
}
