//! LM head: log-probabilities, entropies and gradients, computed in chunks of rows so that the logits of all
//! tokens are never in memory at once.
//!
//! Shapes: N targets, V vocabulary, H hidden size.

use candle_core::{D, DType, Result, Tensor};

/// The number of f32 logits of a chunk on the CPU.
const CPU_CHUNK_LOGITS: usize = 1 << 25;
/// The number of f32 logits of a chunk on a GPU.
const GPU_CHUNK_LOGITS: usize = 1 << 26;
/// A chunk's number of rows is a multiple of this, because a GPU multiplies matrices in tiles.
const GPU_TILE_ROWS: usize = 256;

/// The LM head of a decoder.
#[derive(Debug, Clone, Copy)]
pub struct LmHead<'a> {
    /// The frozen weight, shape (V, H).
    weight: &'a Tensor,
    /// Soft cap of logits: `cap * tanh(logit / cap)`; Gemma 2 only.
    softcap: Option<f64>,
    /// Chunk size, in rows.
    chunk_rows: usize,
}

/// Statistics of the predicted distribution at each target token; N values each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenStats {
    /// The target's log-probability, natural logarithm.
    pub logps: Vec<f32>,
    /// The entropy of the distribution, in nats.
    pub entropy: Vec<f32>,
    /// The mean of the logits over the vocabulary.
    pub logits: Vec<f32>,
    /// 1 if the target is the most probable token, else 0.
    pub top: Vec<f32>,
}

impl<'a> LmHead<'a> {
    /// A head with this weight, shape (V, H), and an optional soft cap of its logits.
    ///
    /// # Errors
    /// When the weight is not a matrix.
    pub fn new(weight: &'a Tensor, softcap: Option<f64>) -> Result<Self> {
        let vocab_size = weight.dim(0)?;
        let chunk_rows = if weight.device().is_cpu() {
            (CPU_CHUNK_LOGITS / vocab_size).max(1)
        } else {
            (GPU_CHUNK_LOGITS / vocab_size / GPU_TILE_ROWS).max(1) * GPU_TILE_ROWS
        };
        Ok(Self {
            weight,
            softcap,
            chunk_rows,
        })
    }

    /// Logits in f32, shape (rows, V), and the derivative of the soft cap if there is one.
    fn logits(&self, rows: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let logits = rows.matmul(&self.weight.t()?)?.to_dtype(DType::F32)?;
        match self.softcap {
            None => Ok((logits, None)),
            Some(cap) => {
                let tanh = (logits / cap)?.tanh()?;
                let derivative = (1.0 - tanh.sqr()?)?;
                Ok(((tanh * cap)?, Some(derivative)))
            }
        }
    }

    /// The log-probability of each target, for the hidden states after the last norm, shape (N, H).
    ///
    /// # Errors
    /// When the device fails.
    pub fn logps(&self, rows: &Tensor, targets: &[u32]) -> Result<Vec<f32>> {
        let mut logps = Vec::with_capacity(targets.len());
        for (start, targets) in chunks(targets, self.chunk_rows) {
            let (logits, _) = self.logits(&rows.narrow(0, start, targets.len())?)?;
            let of_target = Tensor::new(targets, rows.device())?.unsqueeze(1)?;
            let (_, log_sum) = softmax_with_log_sum(&logits)?;
            let chunk = (logits.gather(&of_target, 1)? - log_sum)?;
            logps.extend(chunk.squeeze(1)?.to_vec1::<f32>()?);
        }
        Ok(logps)
    }

    /// The statistics of each target, for the hidden states after the last norm, shape (N, H).
    ///
    /// # Errors
    /// When the device fails.
    pub fn token_stats(&self, rows: &Tensor, targets: &[u32]) -> Result<TokenStats> {
        let mut stats = TokenStats::default();
        for (start, targets) in chunks(targets, self.chunk_rows) {
            let (logits, _) = self.logits(&rows.narrow(0, start, targets.len())?)?;
            let of_target = Tensor::new(targets, rows.device())?.unsqueeze(1)?;
            let (probs, log_sum) = softmax_with_log_sum(&logits)?;
            let entropy = (&log_sum - (probs * &logits)?.sum_keepdim(D::Minus1)?)?;
            let argmax = logits.argmax_keepdim(D::Minus1)?;
            let columns = [
                (logits.gather(&of_target, 1)? - log_sum)?,
                entropy,
                logits.mean_keepdim(D::Minus1)?,
                argmax.eq(&of_target)?.to_dtype(DType::F32)?,
            ];
            // A single copy to the host, because each copy waits for the device.
            let columns = Tensor::cat(&columns, 1)?.t()?.to_vec2::<f32>()?;
            let fields = [
                &mut stats.logps,
                &mut stats.entropy,
                &mut stats.logits,
                &mut stats.top,
            ];
            fields
                .into_iter()
                .zip(columns)
                .for_each(|(stats, chunk)| stats.extend(chunk));
        }
        Ok(stats)
    }

    /// The gradient of the hidden states, shape (N, H), for the gradients `dlogps` of the targets'
    /// log-probabilities: `dlogps (onehot - softmax) W`. The weight is frozen and gets no gradient.
    ///
    /// # Errors
    /// When the device fails.
    pub fn backward(&self, rows: &Tensor, targets: &[u32], dlogps: &[f32]) -> Result<Tensor> {
        let mut parts = Vec::new();
        for (start, targets) in chunks(targets, self.chunk_rows) {
            let count = targets.len();
            let (logits, softcap_derivative) = self.logits(&rows.narrow(0, start, count)?)?;
            let dlogps = Tensor::new(&dlogps[start..start + count], rows.device())?.unsqueeze(1)?;
            let probs = candle_nn::ops::softmax_last_dim(&logits)?;
            let mut d = probs.broadcast_mul(&dlogps.neg()?)?;
            let of_target = Tensor::new(targets, rows.device())?.unsqueeze(1)?;
            d = d.scatter_add(&of_target, &dlogps, 1)?;
            if let Some(derivative) = softcap_derivative {
                d = (d * derivative)?;
            }
            parts.push(d.to_dtype(rows.dtype())?.matmul(self.weight)?);
        }
        Tensor::cat(&parts, 0)
    }
}

/// The softmax of each row, and its log-sum-exp, shape (rows, 1).
fn softmax_with_log_sum(logits: &Tensor) -> Result<(Tensor, Tensor)> {
    let probs = candle_nn::ops::softmax_last_dim(logits)?;
    // max(p) = exp(max(logits) - log_sum).
    let max_logp = probs.max_keepdim(D::Minus1)?.log()?;
    let log_sum = (logits.max_keepdim(D::Minus1)? - max_logp)?;
    Ok((probs, log_sum))
}

/// Chunks of at most `size` targets, each with the index of its first one.
fn chunks(targets: &[u32], size: usize) -> impl Iterator<Item = (usize, &[u32])> {
    let chunks = targets.chunks(size).enumerate();
    chunks.map(move |(number, chunk)| (number * size, chunk))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use polyphony_io::random::SplitMix64;

    use super::*;

    /// A head with a vocabulary of 7 tokens, with and without a soft cap, in chunks of 3 rows.
    #[test]
    fn chunked_head_matches_the_unchunked_head_the_definition_and_finite_differences() {
        let mut random = SplitMix64::seed_from_u64(3);
        let mut values = |rows: usize, width: usize| {
            let sampled = (0..rows * width).map(|_| 4.0 * (random.next_f64() - 0.5) as f32);
            Tensor::from_vec(sampled.collect(), (rows, width), &Device::Cpu).unwrap()
        };
        let (weight, rows) = (values(7, 5), values(8, 5));
        let targets = [0, 6, 3, 3, 1, 5, 2, 4];
        let slopes: Vec<f32> = (0..8).map(|row| 0.3 * row as f32 - 1.0).collect();
        for cap in [None, Some(2.5)] {
            let unchunked = LmHead::new(&weight, cap).unwrap();
            let chunked = LmHead {
                chunk_rows: 3,
                ..unchunked
            };
            let stats = unchunked.token_stats(&rows, &targets).unwrap();
            assert_eq!(chunked.token_stats(&rows, &targets).unwrap(), stats);
            assert_eq!(chunked.logps(&rows, &targets).unwrap(), stats.logps);

            // The definition, row by row in f64.
            let logits: Vec<Vec<f32>> = rows
                .matmul(&weight.t().unwrap())
                .unwrap()
                .to_vec2()
                .unwrap();
            let softcap = |z: f32| {
                let z = f64::from(z);
                cap.map_or(z, |cap| cap * (z / cap).tanh())
            };
            for (index, row) in logits.iter().enumerate() {
                let z: Vec<f64> = row.iter().map(|z| softcap(*z)).collect();
                let sum = z.iter().map(|z| z.exp()).sum::<f64>();
                let p = z.iter().map(|z| z.exp() / sum);
                let entropy: f64 = p.map(|p| -p * p.ln()).sum();
                let target = z[targets[index] as usize];
                let max = z.iter().copied().fold(f64::MIN, f64::max);
                let near = |actual: f32, expected: f64| {
                    assert!((f64::from(actual) - expected).abs() < 1e-5);
                };
                near(stats.logps[index], target - sum.ln());
                near(stats.entropy[index], entropy);
                near(stats.logits[index], z.iter().sum::<f64>() / 7.0);
                near(stats.top[index], f64::from(target >= max));
            }

            // The gradient, by central finite differences.
            let total = |rows: &Tensor| -> f64 {
                let logps = chunked.logps(rows, &targets).unwrap();
                let terms = logps.iter().zip(&slopes);
                terms.map(|(p, d)| f64::from(*p) * f64::from(*d)).sum()
            };
            let gradient: Vec<f32> = chunked
                .backward(&rows, &targets, &slopes)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap();
            let flat: Vec<f32> = rows.flatten_all().unwrap().to_vec1().unwrap();
            for index in 0..flat.len() {
                let moved = |by: f32| {
                    let mut flat = flat.clone();
                    flat[index] += by;
                    total(&Tensor::from_vec(flat, (8, 5), &Device::Cpu).unwrap())
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                assert!(
                    (slope - f64::from(gradient[index])).abs() < 2e-3,
                    "{index}: {slope}"
                );
            }
        }
    }
}
