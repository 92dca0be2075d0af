//! RoBERTa (Liu et al. 2019) and XLM-RoBERTa: the architecture of Style-Embedding, StyleDistance, bge-m3 and
//! e5.

use super::{Checkpoint, Encoder, Positions, bert};
use crate::Result;

/// Loads RoBERTa: as BERT, but positions start at the padding token's id plus one.
pub(super) fn load(checkpoint: &Checkpoint) -> Result<Encoder> {
    let pad = checkpoint.config.pad_token_id.unwrap_or(1);
    let reserved = pad as usize + 1;
    bert::load_named(checkpoint, "roberta.", reserved, |table| {
        Positions::AbsoluteWithOffset(table, pad)
    })
}
