//! RoBERTa and XLM-RoBERTa (Liu et al. 2019), as Style-Embedding, StyleDistance, bge-m3 and e5 are.

use super::{Encoder, Positions, Source, bert};
use crate::Result;

/// Loads RoBERTa: BERT, but positions count from the padding token's id plus one.
pub(super) fn load(source: &Source) -> Result<Encoder> {
    let pad = source.config.pad_token_id.unwrap_or(1);
    let reserved = pad as usize + 1;
    bert::load_named(source, "roberta.", reserved, |table| {
        Positions::AfterPad(table, pad)
    })
}
