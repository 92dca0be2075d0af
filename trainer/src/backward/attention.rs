//! The gradient through attention, by queries, keys and values.

use candle_core::{D, DType, Result, Tensor};
use polyphony_model::decoder::ops::{
    Attention, PackedSequences, by_group, from_groups, probabilities,
};

/// The gradients of `q`, `k` and `v`, of their shapes, for `dy` at the output `mixed`, shape
/// (tokens, heads * head). Scores are computed anew, a text at a time: none are kept.
///
/// With `P` the probabilities: `dV = P^T dY`, `dS = P (dY V^T - rowsum(dY Y))`, times the cap's
/// slope where scores are capped, `dQ = scale dS K`, `dK = scale dS^T Q` (Dao et al. 2022,
/// appendix B).
///
/// # Errors
/// When shapes do not fit.
pub fn backward(
    [q, k, v]: [&Tensor; 3],
    mixed: &Tensor,
    dy: &Tensor,
    segments: &PackedSequences,
    how: &Attention,
) -> Result<[Tensor; 3]> {
    let (_, heads, head) = q.dims3()?;
    let groups = k.dim(1)?;
    let kind = q.dtype();
    let mut start = 0;
    let mut parts: [Vec<Tensor>; 3] = Default::default();
    for &length in &segments.lengths {
        let rows = |x: &Tensor| by_group(&x.narrow(0, start, length)?, groups);
        let outs = |x: &Tensor| {
            let rows = x.narrow(0, start, length)?;
            by_group(&rows.reshape((length, heads, head))?, groups)
        };
        let (q, k, v) = (rows(q)?, rows(k)?, rows(v)?);
        let (y, dy) = (outs(mixed)?, outs(dy)?);
        let mask = segments.mask(length, how.window)?;
        let (p, slope) = probabilities(&q, &k, &mask, how)?;
        let dv = p.to_dtype(kind)?.t()?.contiguous()?.matmul(&dy)?;
        let dp = dy.matmul(&v.t()?.contiguous()?)?.to_dtype(DType::F32)?;
        let row = (y.to_dtype(DType::F32)? * dy.to_dtype(DType::F32)?)?.sum_keepdim(D::Minus1)?;
        let mut ds = (p * dp.broadcast_sub(&row)?)?;
        if let Some(slope) = slope {
            ds = (&ds * slope.reshape(ds.shape())?)?;
        }
        let ds = (ds * how.scale)?.to_dtype(kind)?;
        parts[0].push(from_groups(&ds.matmul(&k)?, length)?);
        parts[1].push(from_groups(&ds.t()?.contiguous()?.matmul(&q)?, length)?);
        parts[2].push(from_groups(&dv, length)?);
        start += length;
    }
    let [dq, dk, dv] = parts;
    Ok([
        Tensor::cat(&dq, 0)?,
        Tensor::cat(&dk, 0)?,
        Tensor::cat(&dv, 0)?,
    ])
}
