//! Cosine similarity: the matrix of cosines that the measures of embeddings are computed from.

/// The cosine similarities of `n` vectors as a row-major n x n matrix, in -1 to 1. A zero vector has
/// cosine 0 with other vectors and 1 with another zero vector: empty texts count as equal.
pub fn cosines(rows: &[&[f32]]) -> Vec<f64> {
    let n = rows.len();
    let inverse_norm = |row: &&[f32]| {
        let length = dot(row, row).sqrt();
        if length > 0.0 { 1.0 / length } else { 0.0 }
    };
    let inverse_norm: Vec<f64> = rows.iter().map(inverse_norm).collect();
    let mut matrix = vec![1.0; n * n];
    for i in 0..n {
        for j in i + 1..n {
            let cosine = if inverse_norm[i] == 0.0 && inverse_norm[j] == 0.0 {
                1.0
            } else {
                dot(rows[i], rows[j]) * inverse_norm[i] * inverse_norm[j]
            };
            matrix[i * n + j] = cosine;
            matrix[j * n + i] = cosine;
        }
    }
    matrix
}

/// The dot product in f64 lanes: the eigenvalues of the Vendi score need full precision, and vectors are few.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0.0_f64; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += f64::from(x[lane]) * f64::from(y[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest);
    let rest: f64 = rest.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
    lanes.iter().sum::<f64>() + rest
}
