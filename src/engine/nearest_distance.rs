//! Nearest distance: the cosine distance of each vector to the most similar other one.

use polyphony_model::kernel::vector::dot;

/// Of every vector the minimum of `1 - cosine` to all other vectors, in [0, 2]; `None` for a single
/// vector. A zero vector has cosine 0 with every other, and 1 with another zero vector. This is the marginal diversity of `ReDiPO` (Samuel
/// et al. 2026; its code: `marginal_diversity_maxsim`): 0 where a near-copy exists.
///
/// Each pair's cosine is computed once, in O(n^2), so that two vectors that are each other's nearest have
/// distances that are equal in bits.
///
/// ```
/// let rows: [&[f32]; 3] = [&[1.0, 0.0], &[0.0, 2.0], &[-1.0, 0.0]];
/// let distances = polyphony_engine::nearest_distance::nearest_distances(&rows);
/// assert_eq!(distances, [Some(1.0), Some(1.0), Some(1.0)]);
/// ```
pub fn nearest_distances(rows: &[&[f32]]) -> Vec<Option<f64>> {
    let inverse_length = |row: &&[f32]| {
        let length = dot(row, row).sqrt();
        if length > 0.0 { 1.0 / length } else { 0.0 }
    };
    let inverse: Vec<f64> = rows.iter().map(inverse_length).collect();
    let mut nearest = vec![None; rows.len()];
    for i in 0..rows.len() {
        for j in i + 1..rows.len() {
            let cosine = if inverse[i] == 0.0 && inverse[j] == 0.0 {
                1.0
            } else {
                dot(rows[i], rows[j]) * (inverse[i] * inverse[j])
            };
            let distance = (1.0 - cosine).clamp(0.0, 2.0);
            for row in [i, j] {
                let least = nearest[row].map_or(distance, |least: f64| least.min(distance));
                nearest[row] = Some(least);
            }
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_have_distance_zero_and_a_single_vector_has_none() {
        let rows: [&[f32]; 3] = [&[1.0, 2.0], &[2.0, 4.0], &[-2.0, 1.0]];
        let distances = nearest_distances(&rows);
        assert_eq!(distances[0], distances[1]);
        assert!(distances[0].unwrap() < 1e-7);
        assert!((distances[2].unwrap() - 1.0).abs() < 1e-7);
        assert_eq!(nearest_distances(&rows[..1]), [None]);
        let zero: [&[f32]; 2] = [&[0.0, 0.0], &[1.0, 0.0]];
        assert_eq!(nearest_distances(&zero), [Some(1.0), Some(1.0)]);
        let zeros: [&[f32]; 2] = [&[0.0, 0.0], &[0.0, 0.0]];
        assert_eq!(nearest_distances(&zeros), [Some(0.0), Some(0.0)]);
    }
}
