//! Which log-probability has each token, how sure is the model of it, and what is its gradient? In
//! chunks of rows: the logits of all tokens are never there at once.

use candle_core::{D, DType, Result, Tensor};

/// So many logits are held at a time, in f32. More is faster on a GPU, by how much is not measured yet.
const CPU_LOGITS: usize = 1 << 25;
const GPU_LOGITS: usize = 1 << 26;
/// A GPU multiplies matrices in tiles of so many rows.
const TILE: usize = 256;

/// The head of a decoder.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Shape (vocabulary, width).
    weight: &'a Tensor,
    /// Where logits are capped.
    cap: Option<f64>,
    /// How many rows have logits at a time.
    rows: usize,
}

/// What a head says where each target stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenStats {
    /// The target's log-probability.
    pub logps: Vec<f32>,
    /// The entropy of all tokens' probabilities, in nats.
    pub entropy: Vec<f32>,
    /// The mean of all tokens' logits.
    pub logits: Vec<f32>,
    /// 1 where the target is the likeliest token, else 0.
    pub top: Vec<f32>,
}

impl<'a> Head<'a> {
    /// A head of this weight, whose logits are capped there.
    ///
    /// # Errors
    /// When the weight is no matrix.
    pub fn new(weight: &'a Tensor, cap: Option<f64>) -> Result<Self> {
        let vocabulary = weight.dim(0)?;
        let rows = if weight.device().is_cpu() {
            (CPU_LOGITS / vocabulary).max(1)
        } else {
            (GPU_LOGITS / vocabulary / TILE).max(1) * TILE
        };
        Ok(Self { weight, cap, rows })
    }

    /// Logits in f32, and the slope of the cap where there is one.
    fn logits(&self, rows: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let logits = rows.matmul(&self.weight.t()?)?.to_dtype(DType::F32)?;
        match self.cap {
            None => Ok((logits, None)),
            Some(cap) => {
                let bent = (logits / cap)?.tanh()?;
                let slope = (1.0 - bent.sqr()?)?;
                Ok(((bent * cap)?, Some(slope)))
            }
        }
    }

    /// The log-probability of each target, given the rows behind the last norm, shape (rows,
    /// width).
    ///
    /// # Errors
    /// When the device fails.
    pub fn logps(&self, rows: &Tensor, targets: &[u32]) -> Result<Vec<f32>> {
        let mut logps = Vec::with_capacity(targets.len());
        for (start, targets) in chunks(targets, self.rows) {
            let (logits, _) = self.logits(&rows.narrow(0, start, targets.len())?)?;
            let of_target = Tensor::new(targets, rows.device())?.unsqueeze(1)?;
            let (_, sum) = shares(&logits)?;
            let found = (logits.gather(&of_target, 1)? - sum)?;
            logps.extend(found.squeeze(1)?.to_vec1::<f32>()?);
        }
        Ok(logps)
    }

    /// What is said of each target, given the rows behind the last norm, shape (rows, width).
    ///
    /// # Errors
    /// When the device fails.
    pub fn token_stats(&self, rows: &Tensor, targets: &[u32]) -> Result<TokenStats> {
        let mut all = TokenStats::default();
        for (start, targets) in chunks(targets, self.rows) {
            let (logits, _) = self.logits(&rows.narrow(0, start, targets.len())?)?;
            let of_target = Tensor::new(targets, rows.device())?.unsqueeze(1)?;
            let (shares, sum) = shares(&logits)?;
            let entropy = (&sum - (shares * &logits)?.sum_keepdim(D::Minus1)?)?;
            let argmax = logits.argmax_keepdim(D::Minus1)?;
            let found = [
                (logits.gather(&of_target, 1)? - sum)?,
                entropy,
                logits.mean_keepdim(D::Minus1)?,
                argmax.eq(&of_target)?.to_dtype(DType::F32)?,
            ];
            // Fetched at once: each fetch waits for the device.
            let found = Tensor::cat(&found, 1)?.t()?.to_vec2::<f32>()?;
            let places = [
                &mut all.logps,
                &mut all.entropy,
                &mut all.logits,
                &mut all.top,
            ];
            places
                .into_iter()
                .zip(found)
                .for_each(|(all, found)| all.extend(found));
        }
        Ok(all)
    }

    /// The gradient of the rows for that of each target's log-probability: `(onehot - softmax) W`
    /// times it. The head's weight is frozen and gets none.
    ///
    /// # Errors
    /// When the device fails.
    pub fn backward(&self, rows: &Tensor, targets: &[u32], dlogps: &[f32]) -> Result<Tensor> {
        let mut parts = Vec::new();
        for (start, targets) in chunks(targets, self.rows) {
            let count = targets.len();
            let (logits, slope) = self.logits(&rows.narrow(0, start, count)?)?;
            let by = Tensor::new(&dlogps[start..start + count], rows.device())?.unsqueeze(1)?;
            let shares = candle_nn::ops::softmax_last_dim(&logits)?;
            let mut d = shares.broadcast_mul(&by.neg()?)?;
            let of_target = Tensor::new(targets, rows.device())?.unsqueeze(1)?;
            d = d.scatter_add(&of_target, &by, 1)?;
            if let Some(slope) = slope {
                d = (d * slope)?;
            }
            parts.push(d.to_dtype(rows.dtype())?.matmul(self.weight)?);
        }
        Tensor::cat(&parts, 0)
    }
}

/// The softmax of each row, and the logarithm of its sum of exponentials, shape (rows, 1).
fn shares(logits: &Tensor) -> Result<(Tensor, Tensor)> {
    let shares = candle_nn::ops::softmax_last_dim(logits)?;
    // The largest share is 1 over the sum of exponentials, less the largest logit each.
    let off = shares.max_keepdim(D::Minus1)?.log()?;
    let sum = (logits.max_keepdim(D::Minus1)? - off)?;
    Ok((shares, sum))
}

/// Pieces of at most `size`, with where they begin.
fn chunks(targets: &[u32], size: usize) -> impl Iterator<Item = (usize, &[u32])> {
    let pieces = targets.chunks(size).enumerate();
    pieces.map(move |(number, piece)| (number * size, piece))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use polyphony_io::random::SplitMix64;

    use super::*;

    /// A head over 7 words, with a cap, of which 3 rows have logits at a time.
    #[test]
    fn in_pieces_and_under_a_cap_it_is_the_same() {
        let mut random = SplitMix64::seed_from_u64(3);
        let mut values = |rows: usize, width: usize| {
            let drawn = (0..rows * width).map(|_| 4.0 * (random.next_f64() - 0.5) as f32);
            Tensor::from_vec(drawn.collect(), (rows, width), &Device::Cpu).unwrap()
        };
        let (weight, rows) = (values(7, 5), values(8, 5));
        let targets = [0, 6, 3, 3, 1, 5, 2, 4];
        let slopes: Vec<f32> = (0..8).map(|at| 0.3 * at as f32 - 1.0).collect();
        for cap in [None, Some(2.5)] {
            let whole = Head::new(&weight, cap).unwrap();
            let parts = Head { rows: 3, ..whole };
            let known = whole.token_stats(&rows, &targets).unwrap();
            assert_eq!(parts.token_stats(&rows, &targets).unwrap(), known);
            assert_eq!(parts.logps(&rows, &targets).unwrap(), known.logps);

            // By definition, row by row in f64.
            let logits: Vec<Vec<f32>> = rows
                .matmul(&weight.t().unwrap())
                .unwrap()
                .to_vec2()
                .unwrap();
            let bend = |z: f32| {
                let z = f64::from(z);
                cap.map_or(z, |cap| cap * (z / cap).tanh())
            };
            for (at, row) in logits.iter().enumerate() {
                let z: Vec<f64> = row.iter().map(|z| bend(*z)).collect();
                let sum = z.iter().map(|z| z.exp()).sum::<f64>();
                let p = z.iter().map(|z| z.exp() / sum);
                let entropy: f64 = p.map(|p| -p * p.ln()).sum();
                let target = z[targets[at] as usize];
                let most = z.iter().copied().fold(f64::MIN, f64::max);
                let near =
                    |given: f32, known: f64| assert!((f64::from(given) - known).abs() < 1e-5);
                near(known.logps[at], target - sum.ln());
                near(known.entropy[at], entropy);
                near(known.logits[at], z.iter().sum::<f64>() / 7.0);
                near(known.top[at], f64::from(target >= most));
            }

            // The gradient is that of finite differences.
            let total = |rows: &Tensor| -> f64 {
                let logps = parts.logps(rows, &targets).unwrap();
                let terms = logps.iter().zip(&slopes);
                terms.map(|(p, d)| f64::from(*p) * f64::from(*d)).sum()
            };
            let given: Vec<f32> = parts
                .backward(&rows, &targets, &slopes)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap();
            let flat: Vec<f32> = rows.flatten_all().unwrap().to_vec1().unwrap();
            for place in 0..flat.len() {
                let moved = |by: f32| {
                    let mut flat = flat.clone();
                    flat[place] += by;
                    total(&Tensor::from_vec(flat, (8, 5), &Device::Cpu).unwrap())
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                assert!(
                    (slope - f64::from(given[place])).abs() < 2e-3,
                    "{place}: {slope}"
                );
            }
        }
    }
}
