//! Selection by vectors: the candidates of `--select dpp`, and tables of vectors by space for SQL files.

use datafusion::prelude::SessionContext;

use super::PairsPipeline;
use crate::embed::Embedder;
use crate::jobs::embed_store::{self, EmbedOptions, Scope};
use crate::{Result, schema, sql};

/// The prefix of the tables of vectors by space: `vectors_semantic`, `vectors_style`.
const VECTORS_OF_SPACE: &str = "vectors_";

impl PairsPipeline<'_> {
    /// Selects the candidates. By a determinantal point process this needs the vectors of all responses
    /// that passed the filters.
    pub(super) async fn candidates(&mut self) -> Result<()> {
        if !self.options.selects_by_dpp() {
            self.forget(schema::ELIGIBLE)?;
            return self.step("10_candidates.sql", None, None).await;
        }
        let limit = self.values.insert("max_responses".to_owned(), 0_i64.into());
        self.step_into(Some(schema::ELIGIBLE), "10_candidates.sql", None, None)
            .await?;
        self.values
            .extend(limit.map(|limit| ("max_responses".to_owned(), limit)));
        for (_, embedder) in &self.options.spaces {
            self.embed(embedder, Scope::Eligible).await?;
        }
        self.step("15_candidates_dpp.sql", None, None).await
    }

    /// Computes the vectors of the scope's texts that have none yet.
    pub(super) async fn embed(&mut self, embedder: &Embedder, scope: Scope) -> Result<()> {
        let texts = EmbedOptions {
            scope,
            shard_size: embedder.default_shard_size(),
        };
        let pipeline = &self.options.pipeline;
        embed_store::run(self.store, embedder, pipeline, &texts, self.progress).await?;
        Ok(())
    }

    /// Removes a table of an earlier run.
    pub(super) fn forget(&mut self, table: &str) -> Result<()> {
        let mut manifest = self.store.manifest().clone();
        manifest.steps.remove(table);
        if manifest.tables.remove(table).is_some() {
            self.store.commit(manifest)?;
        }
        Ok(())
    }

    /// The embedder of the table `vectors_SPACE`; `None` for other tables, and for spaces that this run
    /// does not use.
    pub(super) fn embedder_of(&self, table: &str) -> Option<&Embedder> {
        let space = table.strip_prefix(VECTORS_OF_SPACE)?;
        let mut spaces = self.options.spaces.iter();
        spaces.find_map(|(name, embedder)| (*name == space).then_some(embedder))
    }

    /// Registers the tables `vectors_SPACE` that a file reads: the columns `text_hash` and `vector` of
    /// each space. In a space that this run does not use every vector is NULL; the texts are those of the
    /// first table that the file reads.
    pub(super) async fn register_spaces(
        &self,
        context: &SessionContext,
        script: &sql::SqlStep,
    ) -> Result<()> {
        let tables = script.reads.iter();
        for table in tables.filter(|table| table.starts_with(VECTORS_OF_SPACE)) {
            if let Some(embedder) = self.embedder_of(table) {
                embed_store::register_vectors(context, self.store, embedder, table).await?;
            } else {
                let none = "SELECT DISTINCT text_hash, arrow_cast(NULL, 'FixedSizeList(1, Float32)') AS \
                            vector FROM ";
                let view = context.sql(&format!("{none}{}", script.reads[0])).await?;
                context.register_table(table, view.into_view())?;
            }
        }
        Ok(())
    }
}
