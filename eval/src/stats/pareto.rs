//! Pareto front: the points that no other point dominates.

/// For each point: whether it is on the Pareto front, that is, no other point is at least as large in both values
/// and larger in one. A point with a NaN is not on the front.
pub fn pareto_front(points: &[[f64; 2]]) -> Vec<bool> {
    let dominates =
        |a: &[f64; 2], b: &[f64; 2]| a[0] >= b[0] && a[1] >= b[1] && (a[0] > b[0] || a[1] > b[1]);
    points
        .iter()
        .map(|point| {
            let is_number = point.iter().all(|value| !value.is_nan());
            is_number && !points.iter().any(|other| dominates(other, point))
        })
        .collect()
}
