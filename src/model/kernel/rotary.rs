//! How does a position turn queries and keys?

use rayon::prelude::*;

/// Cosines and sines of every position and pair of a head's values (Su et al. 2021).
#[derive(Debug, Clone)]
pub struct Rotary {
    half: usize,
    /// For each position `half` cosines.
    pub cos: Vec<f32>,
    /// For each position `half` sines.
    pub sin: Vec<f32>,
}

impl Rotary {
    /// The angles of `positions` positions for heads of `head` values: `p / base^(2 i / head)`.
    pub fn new(base: f64, head: usize, positions: usize) -> Self {
        let half = head / 2;
        let angle = |at: usize| {
            let (position, pair) = (at / half, at % half);
            // The reference computes the frequencies, and their product, in f32.
            let frequency = (1.0 / base.powf(2.0 * pair as f64 / head as f64)) as f32;
            position as f32 * frequency
        };
        Self {
            half,
            cos: (0..positions * half).map(|at| angle(at).cos()).collect(),
            sin: (0..positions * half).map(|at| angle(at).sin()).collect(),
        }
    }

    /// Turns the queries and keys of rows of `[q | k | v]`, `heads` heads each, in place: value i of
    /// a head with value i + half of it. `positions` says where each row stands in its text.
    pub fn apply_rotary(&self, rows: &mut [f32], positions: &[u32], heads: usize) {
        let head = 2 * self.half;
        let width = 3 * heads * head;
        rows.par_chunks_mut(width)
            .zip(positions)
            .for_each(|(row, &position)| {
                let from = position as usize * self.half;
                let cos = &self.cos[from..from + self.half];
                let sin = &self.sin[from..from + self.half];
                for head in row[..2 * heads * head].chunks_exact_mut(head) {
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
    use super::Rotary;

    #[test]
    fn turns_by_the_position() {
        let rotary = Rotary::new(10.0, 2, 4);
        let mut row = vec![1.0, 0.0, 0.0, 1.0, 5.0, 6.0];
        rotary.apply_rotary(&mut row, &[3], 1);
        let (sin, cos) = 3.0_f32.sin_cos();
        assert_eq!(row, [cos, sin, -sin, cos, 5.0, 6.0]);
    }
}
