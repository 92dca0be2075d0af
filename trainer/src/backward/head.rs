//! Which log-probability has each token, how sure is the model of it, and what is its gradient? In
//! chunks of rows: the logits of all tokens are never there at once.

use candle_core::{D, DType, Result, Tensor};

/// So many logits are held at a time, in f32: what stays near a CPU's caches is too little work for a
/// GPU.
const CPU_LOGITS: usize = 1 << 25;
const GPU_LOGITS: usize = 1 << 27;
/// A GPU multiplies matrices in tiles of so many rows.
const TILE: usize = 256;

/// The head of a decoder.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Shape (vocabulary, width).
    pub weight: &'a Tensor,
    /// Where logits are capped.
    pub cap: Option<f64>,
}

/// What a head says where each target stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Foretold {
    /// The target's log-probability.
    pub logps: Vec<f32>,
    /// The entropy of all tokens' probabilities, in nats.
    pub entropy: Vec<f32>,
    /// The mean of all tokens' logits.
    pub logits: Vec<f32>,
    /// 1 where no token is likelier than the target, else 0.
    pub top: Vec<f32>,
}

impl Head<'_> {
    fn chunk(&self) -> Result<usize> {
        let vocabulary = self.weight.dim(0)?;
        if self.weight.device().is_cpu() {
            return Ok((CPU_LOGITS / vocabulary).max(1));
        }
        Ok((GPU_LOGITS / vocabulary / TILE).max(1) * TILE)
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
        for (start, targets) in chunks(targets, self.chunk()?) {
            let (logits, _) = self.logits(&rows.narrow(0, start, targets.len())?)?;
            let of_target = Tensor::new(targets, rows.device())?.unsqueeze(1)?;
            let chosen = logits.gather(&of_target, 1)?.squeeze(1)?;
            let all = logits.log_sum_exp(D::Minus1)?;
            logps.extend((chosen - all)?.to_vec1::<f32>()?);
        }
        Ok(logps)
    }

    /// What is said of each target, given the rows behind the last norm, shape (rows, width).
    ///
    /// # Errors
    /// When the device fails.
    pub fn foretold(&self, rows: &Tensor, targets: &[u32]) -> Result<Foretold> {
        let mut all = Foretold::default();
        for (start, targets) in chunks(targets, self.chunk()?) {
            let (logits, _) = self.logits(&rows.narrow(0, start, targets.len())?)?;
            let of_target = Tensor::new(targets, rows.device())?.unsqueeze(1)?;
            let of_target = logits.gather(&of_target, 1)?;
            let largest = logits.max_keepdim(D::Minus1)?;
            let shares = candle_nn::ops::softmax_last_dim(&logits)?;
            // The largest share is 1 over the sum of exponentials.
            let sum = (&largest - shares.max_keepdim(D::Minus1)?.log()?)?;
            let entropy = (&sum - (shares * &logits)?.sum_keepdim(D::Minus1)?)?;
            let found = [
                (&of_target - sum)?,
                entropy,
                logits.mean_keepdim(D::Minus1)?,
                of_target.ge(&largest)?.to_dtype(DType::F32)?,
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
        for (start, targets) in chunks(targets, self.chunk()?) {
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

/// Pieces of at most `size`, with where they begin.
fn chunks(targets: &[u32], size: usize) -> impl Iterator<Item = (usize, &[u32])> {
    let pieces = targets.chunks(size).enumerate();
    pieces.map(move |(number, piece)| (number * size, piece))
}
