//! Pareto front: the points that no other point dominates.

/// Whether each point is on the Pareto front: no other is as large in both values and larger in one. A point
/// with NaN is not.
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
