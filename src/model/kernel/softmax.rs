//! Softmax kernel: softmax of each row, in place.

use super::exp::exp;

/// Number of partial results of a row, the same on every machine.
const LANES: usize = 16;

/// Replaces each row of `columns` values by its softmax (PyTorch: `torch.softmax(dim=-1)`).
pub fn softmax(rows: &mut [f32], columns: usize) {
    pulp::Arch::new().dispatch(Softmax(rows, columns));
}

/// [`softmax`] for the dispatch by instruction set.
struct Softmax<'a>(&'a mut [f32], usize);

impl pulp::WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for row in self.0.chunks_exact_mut(self.1) {
            softmax_row(row);
        }
    }
}

#[inline(always)]
fn softmax_row(row: &mut [f32]) {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            largest[lane] = if chunk[lane] > largest[lane] {
                chunk[lane]
            } else {
                largest[lane]
            };
        }
    }
    let largest = largest
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0_f32; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - largest);
            sums[lane] += chunk[lane];
        }
    }
    for (value, sum) in rest.iter_mut().zip(&mut sums) {
        *value = exp(*value - largest);
        *sum += *value;
    }
    let inverse = 1.0 / sums.iter().sum::<f32>();
    for value in row {
        *value *= inverse;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn softmax_matches_f64() {
        let mut rows: Vec<f32> = (0..2 * 37).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
        let before = rows.clone();
        super::softmax(&mut rows, 37);
        for (row, before) in rows.chunks(37).zip(before.chunks(37)) {
            let sum: f64 = before.iter().map(|&x| f64::from(x).exp()).sum();
            for (value, &x) in row.iter().zip(before) {
                let expected = f64::from(x).exp() / sum;
                assert!((f64::from(*value) - expected).abs() < 1e-7);
            }
        }
    }
}
