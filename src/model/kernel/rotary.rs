//! RoPE: rotary position embeddings (Su et al. 2021) on packed rows of queries, keys and values.

use rayon::prelude::*;

/// The inverse frequencies `theta^(-2i / head_dim)`, `head_dim / 2` of them (transformers: `inv_freq`).
pub fn inv_freq(theta: f64, head_dim: usize) -> Vec<f64> {
    let exponents = (0..head_dim / 2).map(|i| -2.0 * i as f64 / head_dim as f64);
    exponents.map(|exponent| theta.powf(exponent)).collect()
}

/// Cosines and sines of every position below a maximum.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    half: usize,
    /// `half` cosines per position.
    cos: Vec<f32>,
    /// `half` sines per position.
    sin: Vec<f32>,
}

impl RotaryTable {
    /// The table of the angles `position * inv_freq[i]`, positions from 0, computed in f32 as in transformers.
    pub fn new(inv_freq: &[f64], positions: usize) -> Self {
        let angles = (0..positions).flat_map(|position| {
            let angle = move |frequency: &f64| position as f32 * *frequency as f32;
            inv_freq.iter().map(angle)
        });
        let angles: Vec<f32> = angles.collect();
        Self {
            half: inv_freq.len(),
            cos: angles.iter().map(|angle| angle.cos()).collect(),
            sin: angles.iter().map(|angle| angle.sin()).collect(),
        }
    }

    /// Rotates the queries and keys of rows `[q | k | v]`, `heads` heads each, in place: value `i` of a
    /// head is paired with value `i + D/2`. `positions` has each row's position in its sequence.
    pub fn apply_rotary(&self, rows: &mut [f32], positions: &[u32], heads: usize) {
        let head_dim = 2 * self.half;
        let stride = 3 * heads * head_dim;
        rows.par_chunks_mut(stride)
            .zip(positions)
            .for_each(|(row, &position)| {
                let from = position as usize * self.half;
                let cos = &self.cos[from..from + self.half];
                let sin = &self.sin[from..from + self.half];
                for head in row[..2 * heads * head_dim].chunks_exact_mut(head_dim) {
                    let (first, second) = head.split_at_mut(self.half);
                    for pair in 0..self.half {
                        let (x, y) = (first[pair], second[pair]);
                        first[pair] = x * cos[pair] - y * sin[pair];
                        second[pair] = y * cos[pair] + x * sin[pair];
                    }
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::{RotaryTable, inv_freq};

    #[test]
    fn queries_and_keys_are_rotated_and_values_are_not() {
        let rotary = RotaryTable::new(&inv_freq(10.0, 2), 4);
        let mut row = vec![1.0, 0.0, 0.0, 1.0, 5.0, 6.0];
        rotary.apply_rotary(&mut row, &[3], 1);
        let (sin, cos) = 3.0_f32.sin_cos();
        assert_eq!(row, [cos, sin, -sin, cos, 5.0, 6.0]);
    }
}
