//! Pairs pipeline: responses to weighted preference pairs, one SQL step after another.

pub mod card;
mod dataset_folder;
mod eval_prompts;
mod export;
pub mod long_texts;
mod options;
mod selection;
mod weight_check;
pub mod weight_formula;

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Float64Type, SchemaRef};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use tracing::{Instrument as _, info_span};

pub use self::options::{DivPoPool, Options, Select, Strategy};
use crate::embed::Embedder;
use crate::jobs::embed_store::{self, Scope};
use crate::store::{StepEntry, Store};
use crate::{Error, Result, schema, session, sql};
use polyphony_io::hash::{Sha256, hex};
use polyphony_io::progress::{Progress, Unit};

/// The output files of `pairs`.
#[derive(Debug)]
pub struct PairsOutput {
    /// The path of the pairs.
    pub file: PathBuf,
    /// The path of the data set card, next to the pairs.
    pub card_file: PathBuf,
    /// The data set card.
    pub card: card::Card,
    /// The path of the SFT examples and their number, where they were asked for.
    pub sft: Option<(PathBuf, u64)>,
}

/// Makes weighted preference pairs from a store. A step is skipped when its SQL, options and inputs
/// have not changed since the last run.
///
/// # Errors
/// When a step fails, the store is empty, another process writes to it, or the disk is full.
pub async fn pairs(
    folder: &std::path::Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<PairsOutput> {
    options.check()?;
    Store::open(folder)?;
    export::refuse_foreign_files(options, folder)?;
    let mut store = Store::lock(folder)?;
    if store.manifest().rows(schema::RESPONSES) == 0 {
        return Err(Error::store(
            folder,
            "holds no responses",
            "ingest submissions and comments; `SELECT * FROM quarantine` shows rejected rows",
        ));
    }
    if !store.manifest().complete {
        return Err(Error::store(
            folder,
            "its last ingest did not finish",
            "run the same `polyphony ingest` again: it resumes where it stopped",
        ));
    }
    let tokenizer_sha256 = match &options.tokenizer {
        None => String::new(),
        Some(name) => polyphony_model::tokenizer::load_cached(name)?
            .sha256
            .clone(),
    };
    eval_prompts::set(&mut store, options.eval_prompts.as_deref(), progress)?;
    let mut run = PairsPipeline::new(&mut store, options, progress);
    run.tokenizer_sha256 = tokenizer_sha256;
    run.candidates().await?;
    // DivPO and marginal select pairs by vectors, so they need them first; their weights are those of the
    // responses from which pairs are selected.
    if options.strategy.needs_vectors() {
        let pool = match options.strategy {
            Strategy::DivPo => options.pool,
            _ => DivPoPool::All,
        };
        run.step(pool.script(), None, None).await?;
        run.weights().await?;
        if options.strategy == Strategy::DivPo {
            run.divpo_pairs().await?;
        } else {
            run.step("20_marginal_diversities.sql", None, None).await?;
            run.step(options.strategy.script(), None, None).await?;
        }
        run.expect_pairs()?;
    } else {
        run.step(options.strategy.script(), None, None).await?;
        run.expect_pairs()?;
        run.step("30_scored_responses_in_pairs.sql", None, None)
            .await?;
        run.weights().await?;
    }
    run.center_winners().await?;
    run.step("60_pairs.sql", None, Some(schema::pairs()))
        .await?;
    if options.sft.is_some() {
        run.step("65_sft.sql", None, Some(schema::sft())).await?;
    } else {
        // Examples of an earlier run need not be the candidates of this one.
        run.forget(schema::SFT)?;
    }
    export::export(&store, options, folder).await
}

/// A run of the pipeline.
pub(crate) struct PairsPipeline<'a> {
    store: &'a mut Store,
    options: &'a Options,
    values: sql::Options,
    tokenizer_sha256: String,
    progress: &'a dyn Progress,
}

impl<'a> PairsPipeline<'a> {
    /// A run over a store, without a tokenizer.
    pub(crate) fn new(
        store: &'a mut Store,
        options: &'a Options,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            store,
            options,
            values: options.sql_values(),
            tokenizer_sha256: String::new(),
            progress,
        }
    }

    /// Fails if there are no pairs.
    fn expect_pairs(&self) -> Result<()> {
        if self.store.manifest().rows(schema::PAIR_IDS) > 0 {
            return Ok(());
        }
        let widen = match &self.options.filter {
            Some(_) => "widen --where, ",
            None => "",
        };
        Err(Error::store(
            self.store.folder(),
            "no two responses of a prompt can be paired with these options",
            format!(
                "{widen}lower --gap, --ratio or --min-votes, raise --epsilon, or use --ignore-time-order; \
                 `SELECT excluded, count(*) FROM candidates GROUP BY excluded` shows why responses are excluded"
            ),
        ))
    }

    /// Selects the pairs of `DivPO` by the deviation within its pools.
    async fn divpo_pairs(&mut self) -> Result<()> {
        self.step("20_divpo_pools.sql", None, None).await?;
        self.forget_other_spaces(schema::POOL_DEVIATIONS)?;
        for (space, embedder) in &self.options.spaces {
            self.step("20_divpo_deviations.sql", Some((space, embedder)), None)
                .await?;
        }
        self.step(self.options.strategy.script(), None, None).await
    }

    /// Removes the parts of a table of deviations that belong to the spaces of an earlier run.
    fn forget_other_spaces(&mut self, table: &str) -> Result<()> {
        let current: Vec<&str> = self
            .options
            .spaces
            .iter()
            .map(|(space, _)| *space)
            .collect();
        let mut manifest = self.store.manifest().clone();
        if let Some(parts) = manifest.tables.get_mut(table) {
            parts.retain(|part| current.iter().any(|space| part.file.starts_with(space)));
        }
        manifest.steps.retain(|key, _| {
            let space = key
                .strip_prefix(table)
                .and_then(|rest| rest.strip_prefix('/'));
            space.is_none_or(|space| current.contains(&space))
        });
        if manifest != *self.store.manifest() {
            self.store.commit(manifest)?;
        }
        Ok(())
    }

    /// Computes the vectors, deviations and weights of the responses in `scored_responses`.
    pub(crate) async fn weights(&mut self) -> Result<()> {
        self.forget_other_spaces(schema::DEVIATIONS)?;
        for (space, embedder) in &self.options.spaces {
            self.embed(embedder, Scope::ScoredResponses).await?;
            self.step("40_deviation.sql", Some((space, embedder)), None)
                .await?;
        }
        let script = self.options.weights_script();
        self.step(script, None, Some(schema::weights())).await
    }

    /// With `--center-winners`: computes the mean weight of the chosen responses of the training split, by
    /// which later steps divide. Returns it; 1 without the option.
    pub(crate) async fn center_winners(&mut self) -> Result<f64> {
        if !self.options.center_winners {
            return Ok(1.0);
        }
        let context = self.context(None)?;
        let script = self.options.pipeline.script("55_winner_mean.sql")?;
        let rows = script.collect(&context, &self.values).await?;
        let column = rows.first().and_then(|rows| rows.column_by_name("mean"));
        let mean = column.and_then(|mean| mean.as_primitive_opt::<Float64Type>());
        let mean = mean
            .filter(|mean| mean.is_valid(0))
            .map(|mean| mean.value(0));
        let Some(mean) = mean.filter(|mean| *mean > 0.0) else {
            let message = match mean {
                Some(_) => "every chosen response of the training split has weight 0",
                None => "no pair is in the training split",
            };
            return Err(Error::config(
                "--center-winners",
                message,
                "leave it out: there is no mean to divide by",
            ));
        };
        self.values
            .insert("winner_mean".to_owned(), ScalarValue::from(mean));
        Ok(mean)
    }

    /// Runs one SQL file and commits its output table, unless that is up to date.
    pub(crate) async fn step(
        &mut self,
        name: &str,
        space: Option<(&str, &Embedder)>,
        schema: Option<SchemaRef>,
    ) -> Result<()> {
        self.step_into(None, name, space, schema).await
    }

    /// As [`Self::step`], but with another output table than the file names if `table` is set.
    async fn step_into(
        &mut self,
        table: Option<&str>,
        name: &str,
        space: Option<(&str, &Embedder)>,
        schema: Option<SchemaRef>,
    ) -> Result<()> {
        let mut script = self.options.pipeline.script(name)?;
        if let Some(table) = table {
            table.clone_into(&mut script.writes);
        }
        for (placeholder, expression) in self.options.expressions() {
            if script.text.contains(placeholder) {
                script = script.with_expression(placeholder, expression);
            }
        }
        let is_own = self.options.weight.is_some() || self.options.pipeline.overrides(name);
        let checks_weights = script.writes == schema::WEIGHTS && is_own;
        let schema = if checks_weights {
            // A missing weight must be read to be refused by name.
            Some(weight_check::nullable(&schema::weights()))
        } else {
            schema
        };
        let mut values = self.values.clone();
        if let Some((space, embedder)) = space {
            values.insert("space".to_owned(), ScalarValue::from(space));
            values.extend(embed_store::sql_values(embedder));
        }
        values.retain(|name, _| script.text.contains(&format!("${name}")));
        let context = self.context(space.map(|(_, embedder)| embedder))?;
        self.register_spaces(&context, &script).await?;
        let stands_for = |table: &str| match (space, self.embedder_of(table)) {
            (Some((_, embedder)), _) if table == embed_store::VECTORS => {
                embed_store::table_of(embedder)
            }
            (_, Some(embedder)) => embed_store::table_of(embedder),
            _ => table.to_owned(),
        };
        let fingerprint = self.fingerprint(&script, &values, stands_for);
        let key = space.map_or_else(
            || script.writes.clone(),
            |(space, _)| format!("{}/{space}", script.writes),
        );
        let manifest = self.store.manifest();
        let reads = script.describe(|table| manifest.rows(&stands_for(table)));
        let done = manifest
            .steps
            .get(&key)
            .is_some_and(|step| step.fingerprint == fingerprint);
        if done {
            self.progress
                .message(&format!("{}: {key} is up to date", script.name));
            return Ok(());
        }
        self.progress.start(&script.name, None, Unit::Rows);
        let prefix = space
            .map(|(space, _)| format!("{space}-"))
            .unwrap_or_default();
        let part_name = format!("{prefix}{}", &fingerprint[..16]);
        let part = script
            .write(
                &context,
                &values,
                self.store,
                &part_name,
                schema,
                self.progress,
            )
            .instrument(info_span!("pairs_step", table = key))
            .await?;
        self.progress.finish();
        if checks_weights {
            weight_check::check(
                self.store,
                &part,
                self.options.weight.as_ref(),
                &script.name,
            )
            .await?;
        }
        self.progress
            .message(&format!("{reads}; writes {key} ({} rows)", part.rows));
        let mut manifest = self.store.manifest().clone();
        if let Some(parts) = manifest.tables.get_mut(&script.writes) {
            parts.retain(|part| !prefix.is_empty() && !part.file.starts_with(&prefix));
        }
        manifest.add(&script.writes, part);
        let options: BTreeMap<String, String> = values
            .iter()
            .map(|(name, value)| (name.clone(), shown(value)))
            .collect();
        manifest.steps.insert(
            key,
            StepEntry {
                by: script.name.clone(),
                fingerprint,
                options,
            },
        );
        self.store.commit(manifest)
    }

    fn context(&self, embedder: Option<&Embedder>) -> Result<SessionContext> {
        match embedder {
            Some(embedder) => embed_store::session(self.store, embedder),
            None => session::with_store(self.store, &session::MemoryLimit::pipeline()),
        }
    }

    fn fingerprint(
        &self,
        script: &sql::SqlStep,
        values: &sql::Options,
        stands_for: impl Fn(&str) -> String,
    ) -> String {
        let mut hasher = Sha256::new();
        hasher.update(env!("CARGO_PKG_VERSION"));
        hasher.update(&script.text);
        // A tokenizer file may change under the same name, so its content is part of the fingerprint.
        if values.contains_key("tokenizer") {
            hasher.update(&self.tokenizer_sha256);
        }
        for (name, value) in values {
            hasher.update(format!("\n{name}={value:?}"));
        }
        for table in &script.reads {
            if let Some(embedder) = self.embedder_of(table) {
                hasher.update(format!("\n{} {}", embedder.name(), embedder.revision()));
            }
            let state = self.store.manifest().state_of(&stands_for(table));
            hasher.update(format!("\n{table}:\n{state}"));
        }
        hex(&hasher.finalize())
    }
}

/// A SQL value in the notation of the manifest and the card.
fn shown(value: &ScalarValue) -> String {
    if value.is_null() {
        "none".to_owned()
    } else {
        value.to_string()
    }
}
