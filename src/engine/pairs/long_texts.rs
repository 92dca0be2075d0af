//! Long texts of a space: how many of the responses whose deviation is computed its embedder has truncated, for the
//! card.

use arrow::array::RecordBatch;
use serde::Serialize;

use super::Options;
use crate::Result;
use crate::embed::token_counts::TokenCounts;
use crate::jobs::embed_store;
use crate::store::Store;
use polyphony_model::encoder::text_tokenizer::LongTexts;

/// The tokens of the texts that an embedder has read in a space.
#[derive(Debug, Clone, Serialize)]
pub struct SpaceTokens {
    /// The space: `semantic` or `style`.
    pub space: &'static str,
    /// How texts were read that are longer than the embedder's maximum.
    pub long_texts: LongTexts,
    /// The embedder's maximum length of a text in tokens, special tokens included.
    pub max_tokens: usize,
    /// The tokens of the distinct texts.
    #[serde(flatten)]
    pub counts: TokenCounts,
    /// The sentences about texts that were truncated, or embedded in windows.
    #[serde(skip)]
    pub notices: Vec<String>,
    /// The rows of `71_card_long_texts.sql`.
    #[serde(skip)]
    pub rows: Vec<RecordBatch>,
}

/// The tokens by space; spaces of embedders without a maximum length are left out.
///
/// # Errors
/// When the SQL fails.
pub(crate) async fn space_tokens(store: &Store, options: &Options) -> Result<Vec<SpaceTokens>> {
    let mut spaces = Vec::new();
    for (space, embedder) in &options.spaces {
        let (Some(max_tokens), Some(long_texts)) = (embedder.max_tokens(), embedder.long_texts())
        else {
            continue;
        };
        let context = embed_store::session(store, embedder)?;
        let pipeline = &options.pipeline;
        let rows = embed_store::length_rows(&context, embedder, pipeline, space).await?;
        let counts = embed_store::counts_of(&rows)?;
        let notices = [
            counts.truncation_notice(embedder),
            counts.window_notice(embedder),
        ];
        spaces.push(SpaceTokens {
            space,
            long_texts,
            max_tokens,
            counts,
            notices: notices
                .into_iter()
                .flatten()
                .map(|notice| format!("{space}: {notice}"))
                .collect(),
            rows,
        });
    }
    Ok(spaces)
}
