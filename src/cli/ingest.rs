//! `polyphony ingest`: dumps and data sets into a store.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use polyphony_engine::ingest::{self, Options, Summary, dataset::Columns, tag};
use polyphony_engine::sql::{self, SqlPipeline};
use polyphony_engine::store::Store;
use polyphony_engine::{schema, session};

use super::terminal::{self, Bars};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[arg(
        required = true,
        value_name = "SOURCE",
        help = "Reddit dumps (.zst, .gz, .jsonl), data sets (.parquet, .jsonl, .json, .csv, .tsv), folders of \
                them, or hub:OWNER/NAME[@REVISION]"
    )]
    sources: Vec<String>,
    /// The store's folder; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// The subreddit whose rows are taken from dumps
    #[arg(long, default_value = "WritingPrompts")]
    subreddit: String,
    /// The tags of submissions that are prompts
    #[arg(long, value_name = "TAG,...", value_delimiter = ',', default_values = tag::PROMPT_TAGS)]
    tags: Vec<String>,
    /// For tables of responses: which column is what, as prompt=...,response=...,score=... and
    /// `prompt_id`, `response_id`, `created_at`, author
    #[arg(long, value_name = "ROLE=COLUMN,...")]
    columns: Option<String>,
    /// Leave the authors' footers ("More at r/Name", "EDIT: thanks") in the stories; else they are cut
    /// from the end and kept in the column `footer`
    #[arg(long)]
    keep_footers: bool,
    /// Exit with 0 when a file is truncated
    #[arg(long)]
    allow_truncated: bool,
    /// A folder of SQL files that replace the built-in ones
    #[arg(long, value_name = "DIR")]
    sql: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let options = Options {
        subreddit: arguments.subreddit,
        prompt_tags: arguments.tags,
        columns: arguments
            .columns
            .as_deref()
            .map(Columns::parse)
            .transpose()?,
        keep_footers: arguments.keep_footers,
        pipeline: pipeline(arguments.sql)?,
    };
    let bars = Bars::default();
    let summary = ingest::ingest(&arguments.sources, &arguments.store, &options, &bars).await?;
    report(&arguments.store, &options.pipeline, &summary).await?;
    match summary.truncated.first() {
        Some((file, why)) if !arguments.allow_truncated => bail!(
            "{file} is truncated ({why}): the rows before the end were ingested; fetch it again, or use \
             `--allow-truncated`"
        ),
        _ => Ok(()),
    }
}

/// The built-in SQL files, or those of `--sql`.
pub(crate) fn pipeline(folder: Option<PathBuf>) -> anyhow::Result<SqlPipeline> {
    Ok(folder.map_or_else(|| Ok(SqlPipeline::built_in()), SqlPipeline::overridden_by)?)
}

/// Prints the numbers of rows in the store, and of quarantined rows by reason.
async fn report(folder: &Path, pipeline: &SqlPipeline, summary: &Summary) -> anyhow::Result<()> {
    let store = Store::open(folder)?;
    for name in &summary.already_ingested {
        terminal::print_message(&format!("{name}: already in the store"));
    }
    for (name, columns) in &summary.skipped {
        terminal::print_message(&format!(
            "{name}: skipped, of no known kind (its columns are {columns}); for a table of responses name it \
             alone, with `--columns`"
        ));
    }
    for (name, why) in &summary.truncated {
        terminal::print_message(&format!(
            "{name}: truncated ({why}), the rows before the end were ingested"
        ));
    }
    let context = session::with_store(&store, &session::MemoryLimit::pipeline())?;
    session::add_views(&context, pipeline).await?;
    let quarantined = sql::counts(
        &context,
        "SELECT reason, count(*) FROM quarantine GROUP BY reason ORDER BY reason",
    )
    .await?;
    let manifest = store.manifest();
    terminal::result(&format!(
        "{} prompts, {} responses in {}",
        manifest.rows(schema::PROMPTS),
        manifest.rows(schema::RESPONSES),
        folder.display()
    ));
    let footers = sql::counts(
        &context,
        "SELECT 'footers', count(footer) FROM responses HAVING count(footer) > 0",
    )
    .await?;
    for (_, count) in footers {
        terminal::result(&format!("  cut         {count:>9}  footers of authors"));
    }
    let skipped: u64 = manifest
        .sources
        .iter()
        .map(|source| source.other_subreddit)
        .sum();
    if skipped > 0 {
        terminal::result(&format!("  skipped     {skipped:>9}  other_subreddit"));
    }
    for (reason, count) in quarantined {
        terminal::result(&format!("  quarantined {count:>9}  {reason}"));
    }
    Ok(())
}
