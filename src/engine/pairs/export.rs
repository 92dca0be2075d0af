//! Export of `pairs`: the pairs and the SFT examples as files, and the data set card.

use std::path::{Path, PathBuf};

use super::{Options, PairsOutput, Strategy, card, dataset_folder, long_texts};
use crate::store::Store;
use crate::{Error, Result, schema, session, sql};
use polyphony_io::atomic::{copy_atomic, write_atomic, write_json};
use polyphony_io::beside;

/// Fails if the card or a file of the data set's folder would replace a file that no run wrote.
///
/// # Errors
/// When one would, or a file cannot be read.
pub(super) fn refuse_foreign_files(options: &Options, folder: &Path) -> Result<()> {
    let file = pairs_file(options, folder);
    let is_card = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(card::TITLE);
    let is_json = |bytes: &[u8]| {
        beside::has_field(bytes, "polyphony", None) && beside::has_field(bytes, "pairs", None)
    };
    beside::refuse_foreign(&file.with_extension("md"), is_card)?;
    beside::refuse_foreign(&file.with_extension("json"), is_json)?;
    if let Some(folder) = &options.dataset {
        beside::refuse_foreign(&folder.join("README.md"), is_card)?;
        for split in dataset_folder::SPLITS {
            beside::refuse_foreign_parquet(&folder.join(format!("{split}.parquet")))?;
        }
    }
    Ok(())
}

/// The output of the pairs.
fn pairs_file(options: &Options, folder: &Path) -> PathBuf {
    let out = options.out.clone();
    out.unwrap_or_else(|| folder.join("pairs.parquet"))
}

/// Copies the pairs and, where they are asked for, the SFT examples to the output paths, and writes the
/// card next to the pairs.
pub(super) async fn export(store: &Store, options: &Options, folder: &Path) -> Result<PairsOutput> {
    let file = pairs_file(options, folder);
    copy_table(store, schema::PAIRS, &file)?;
    let sft = match &options.sft {
        None => None,
        Some(file) => {
            copy_table(store, schema::SFT, file)?;
            Some((file.clone(), store.manifest().rows(schema::SFT)))
        }
    };
    let context = session::with_store(store, &session::MemoryLimit::pipeline())?;
    session::add_views(&context, &options.pipeline).await?;
    let pipeline = &options.pipeline;
    let none = sql::Options::new();
    let mut rows = pipeline.query(&context, "70_card.sql", &none).await?;
    let of_strategy = match options.strategy {
        Strategy::DivPo => Some("71_card_divpo.sql"),
        Strategy::Marginal => Some("71_card_marginal.sql"),
        Strategy::Gap | Strategy::Ratio | Strategy::All => None,
    };
    let of_sft = sft.as_ref().map(|_| "71_card_sft.sql");
    for script in of_strategy.into_iter().chain(of_sft) {
        let values = options.sql_values();
        rows.extend(pipeline.query(&context, script, &values).await?);
    }
    let tokens = long_texts::space_tokens(store, options).await?;
    rows.extend(tokens.iter().flat_map(|space| space.rows.iter().cloned()));
    let card = card::Card::new(store, options, tokens, &rows)?;
    let card_file = file.with_extension("md");
    write_atomic(&card_file, card.markdown().as_bytes())?;
    write_json(&file.with_extension("json"), &card)?;
    if let Some(folder) = &options.dataset {
        dataset_folder::write(&file, &card, folder)?;
    }
    Ok(PairsOutput {
        file,
        card_file,
        card,
        sft,
    })
}

/// Copies a table of one part to a file.
fn copy_table(store: &Store, table: &str, file: &Path) -> Result<()> {
    let [part] = store.table(table).verified()?.try_into().map_err(|_| {
        Error::store(
            store.folder(),
            format!("the table `{table}` has several parts"),
            "remove the store and ingest again",
        )
    })?;
    copy_atomic(&part, file)
}
