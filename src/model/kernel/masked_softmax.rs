//! How are scores of attention scaled, masked and made shares, in one pass and in place?

use candle_core::{CpuStorage, InplaceOp2, Layout, Result};

use super::softmax::softmax;

/// Replaces scores, shape (.., tokens, length), by the softmax of `scale * score` over what the mask
/// does not hide, the rest by 0; the mask, of shape (tokens, length), holds 0 or minus infinity. On the
/// CPU, in f32.
#[derive(Debug, Clone, Copy)]
pub struct MaskedSoftmax {
    /// What scores are multiplied by.
    pub scale: f32,
}

impl InplaceOp2 for MaskedSoftmax {
    fn name(&self) -> &'static str {
        "shares"
    }

    fn cpu_fwd(
        &self,
        scores: &mut CpuStorage,
        layout: &Layout,
        mask: &CpuStorage,
        of_mask: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(scores), CpuStorage::F32(mask)) = (scores, mask) else {
            candle_core::bail!("shares are of f32");
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("shares want scores one after another");
        };
        let (tokens, length) = of_mask.shape().dims2()?;
        let (stride, first) = (of_mask.stride()[0], of_mask.start_offset());
        let rows = scores[start..end].chunks_exact_mut(length);
        for (row, token) in rows.zip((0..tokens).cycle()) {
            // A token sees a stretch of others: what lies before and behind it is hidden.
            let hides = &mask[first + token * stride..][..length];
            let begin = hides.iter().position(|hide| *hide == 0.0).unwrap_or(length);
            let end = hides
                .iter()
                .rposition(|hide| *hide == 0.0)
                .map_or(begin, |last| last + 1);
            row[..begin].fill(0.0);
            row[end..].fill(0.0);
            let seen = &mut row[begin..end];
            for score in seen.iter_mut() {
                *score *= self.scale;
            }
            if !seen.is_empty() {
                softmax(seen, end - begin);
            }
        }
        Ok(())
    }
}
