//! RoPE: rotary position embeddings (Su et al. 2021) on tensors; the CPU kernel of packed rows is
//! [`crate::kernel::rotary`].

use candle_core::{DType, Device, Result, Tensor};

/// Cosines and sines of rotation angles, one row per position.
#[derive(Debug, Clone)]
pub struct RotaryEmbedding {
    /// Cosines, shape (positions, 1, D/2).
    cos: Tensor,
    /// Sines, shape (positions, 1, D/2).
    sin: Tensor,
}

impl RotaryEmbedding {
    /// The angles `position * inv_freq[i]` of these positions, in f32 as transformers computes them;
    /// `inv_freq` has D/2 values.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn new(
        positions: impl Iterator<Item = usize>,
        inv_freq: &[f64],
        device: &Device,
    ) -> Result<Self> {
        let angles: Vec<f32> = positions
            .flat_map(|position| {
                let angle = move |frequency: &f64| position as f32 * *frequency as f32;
                inv_freq.iter().map(angle)
            })
            .collect();
        let half = inv_freq.len();
        let angles = Tensor::from_slice(&angles, (angles.len() / half, 1, half), device)?;
        Ok(Self {
            cos: angles.cos()?,
            sin: angles.sin()?,
        })
    }

    /// The same angles in another dtype.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            cos: self.cos.to_dtype(dtype)?,
            sin: self.sin.to_dtype(dtype)?,
        })
    }

    /// Looks up the rows of these positions: `positions` of shape (T), u32.
    ///
    /// # Errors
    /// When a position exceeds the table.
    pub fn index_select(&self, positions: &Tensor) -> Result<Self> {
        Ok(Self {
            cos: self.cos.index_select(positions, 0)?,
            sin: self.sin.index_select(positions, 0)?,
        })
    }

    /// Rotates queries or keys, shape (T, heads, D), each by its row of the table: value `i` of a head
    /// is paired with value `i + D/2` (transformers: `apply_rotary_pos_emb`).
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (cos, sin) = (self.cos.to_dtype(x.dtype())?, self.sin.to_dtype(x.dtype())?);
        rotate(x, &cos, &sin)
    }

    /// Backward pass: the gradient of the input of [`Self::forward`], which is the rotation by the negative
    /// angle.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn backward(&self, dy: &Tensor) -> Result<Tensor> {
        let (cos, sin) = (
            self.cos.to_dtype(dy.dtype())?,
            self.sin.to_dtype(dy.dtype())?,
        );
        rotate(dy, &cos, &sin.neg()?)
    }
}

/// Rotates pairs `(x[i], x[i + D/2])` of each head by the angles of `cos` and `sin`.
fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(2)? / 2;
    let first = x.narrow(2, 0, half)?;
    let second = x.narrow(2, half, half)?;
    let rotated = [
        (first.broadcast_mul(cos)? - second.broadcast_mul(sin)?)?,
        (second.broadcast_mul(cos)? + first.broadcast_mul(sin)?)?,
    ];
    Tensor::cat(&rotated, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::rotary::{RotaryTable, inv_freq};

    #[test]
    fn rotary_matches_the_cpu_kernel_and_backward_inverts_it() {
        let (heads, head_dim, positions) = (2, 6, [0_u32, 5, 3]);
        let values: Vec<f32> = (0..3 * 3 * heads * head_dim)
            .map(|i| (i % 7) as f32 - 3.0)
            .collect();
        let shape = (3, 3 * heads, head_dim);
        let x = Tensor::from_slice(&values, shape, &Device::Cpu).unwrap();
        let inv_freq = inv_freq(100.0, head_dim);
        let table = RotaryEmbedding::new(0..8, &inv_freq, &Device::Cpu).unwrap();
        let rows = Tensor::new(&positions, &Device::Cpu).unwrap();
        let rotary = table.index_select(&rows).unwrap();
        let qk = x.narrow(1, 0, 2 * heads).unwrap();
        let rotated = rotary.forward(&qk).unwrap();
        let mut packed = values;
        RotaryTable::new(&inv_freq, 8).apply_rotary(&mut packed, &positions, heads);
        let packed = Tensor::from_vec(packed, shape, &Device::Cpu).unwrap();
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(
            flat(&rotated),
            flat(&packed.narrow(1, 0, 2 * heads).unwrap())
        );
        assert_ne!(flat(&rotated), flat(&qk));
        let back = rotary.backward(&rotated).unwrap();
        for (actual, expected) in flat(&back).iter().zip(flat(&qk)) {
            assert!((actual - expected).abs() < 1e-5, "{actual} {expected}");
        }
    }
}
