//! Masked softmax kernel: attention scores are scaled, masked and normalised in one pass, in place.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result};

use super::softmax::softmax;

/// Replaces scores, shape (.., queries, keys), by the softmax of `scale * score` over the unmasked keys, and
/// masked ones by 0. The mask, of shape (queries, keys), has the values 0 and -inf; a query's unmasked keys
/// must be contiguous. f32 on the CPU.
#[derive(Debug, Clone, Copy)]
pub struct MaskedSoftmax {
    /// The factor that scores are multiplied by.
    pub scale: f32,
}

impl InplaceOp2 for MaskedSoftmax {
    fn name(&self) -> &'static str {
        "masked-softmax"
    }

    fn cpu_fwd(
        &self,
        scores: &mut CpuStorage,
        layout: &Layout,
        mask: &CpuStorage,
        mask_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(scores), CpuStorage::F32(mask)) = (scores, mask) else {
            candle_core::bail!("masked softmax needs f32");
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("masked softmax needs contiguous scores");
        };
        let (queries, keys) = mask_layout.shape().dims2()?;
        let (stride, first) = (mask_layout.stride()[0], mask_layout.start_offset());
        let rows = scores[start..end].chunks_exact_mut(keys);
        for (row, query) in rows.zip((0..queries).cycle()) {
            let mask = &mask[first + query * stride..][..keys];
            let begin = mask.iter().position(|value| *value == 0.0).unwrap_or(keys);
            let end = mask
                .iter()
                .rposition(|value| *value == 0.0)
                .map_or(begin, |last| last + 1);
            row[..begin].fill(0.0);
            row[end..].fill(0.0);
            let unmasked = &mut row[begin..end];
            for score in unmasked.iter_mut() {
                *score *= self.scale;
            }
            if !unmasked.is_empty() {
                softmax(unmasked, end - begin);
            }
        }
        Ok(())
    }
}
