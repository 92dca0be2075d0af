//! Backward pass of attention: gradients of queries, keys and values.

use candle_core::{D, DType, Result, Tensor};
use polyphony_model::decoder::attention::{
    AttentionConfig, attention_probs, group_heads, ungroup_heads,
};
use polyphony_model::decoder::packed::PackedSequences;

/// The gradients of `q`, shape (T, heads, D), and of `k` and `v`, shape (T, `kv_heads`, D), for the output
/// `attn_out` and its gradient `dy`, shape (T, heads * D). Scores are recomputed, one
/// sequence at a time, to save memory.
///
/// With `P` the probabilities: `dV = P^T dY`, `dS = P (dY V^T - rowsum(dY Y))`, times the derivative of the
/// soft cap if there is one, `dQ = scale dS K`, `dK = scale dS^T Q` (Dao et al. 2022, appendix B).
///
/// # Errors
/// When shapes do not fit.
pub fn backward(
    [q, k, v]: [&Tensor; 3],
    attn_out: &Tensor,
    dy: &Tensor,
    packed: &PackedSequences,
    config: &AttentionConfig,
) -> Result<[Tensor; 3]> {
    let (_, heads, head_dim) = q.dims3()?;
    let groups = k.dim(1)?;
    let dtype = q.dtype();
    let mut start = 0;
    let mut parts: [Vec<Tensor>; 3] = Default::default();
    for &length in &packed.lengths {
        let rows = |x: &Tensor| group_heads(&x.narrow(0, start, length)?, groups);
        let outs = |x: &Tensor| {
            let rows = x.narrow(0, start, length)?;
            group_heads(&rows.reshape((length, heads, head_dim))?, groups)
        };
        let (q, k, v) = (rows(q)?, rows(k)?, rows(v)?);
        let (y, dy) = (outs(attn_out)?, outs(dy)?);
        let mask = packed.mask(length, config.sliding_window)?;
        let (p, softcap_derivative) = attention_probs(&q, &k, &mask, config)?;
        let dv = p.to_dtype(dtype)?.t()?.contiguous()?.matmul(&dy)?;
        let dp = dy.matmul(&v.t()?.contiguous()?)?.to_dtype(DType::F32)?;
        let row_sums =
            (y.to_dtype(DType::F32)? * dy.to_dtype(DType::F32)?)?.sum_keepdim(D::Minus1)?;
        let mut ds = (p * dp.broadcast_sub(&row_sums)?)?;
        if let Some(derivative) = softcap_derivative {
            ds = (&ds * derivative.reshape(ds.shape())?)?;
        }
        let ds = (ds * config.scale)?.to_dtype(dtype)?;
        parts[0].push(ungroup_heads(&ds.matmul(&k)?, length)?);
        parts[1].push(ungroup_heads(&ds.t()?.contiguous()?.matmul(&q)?, length)?);
        parts[2].push(ungroup_heads(&dv, length)?);
        start += length;
    }
    let [dq, dk, dv] = parts;
    Ok([
        Tensor::cat(&dq, 0)?,
        Tensor::cat(&dk, 0)?,
        Tensor::cat(&dv, 0)?,
    ])
}
