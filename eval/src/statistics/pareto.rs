//! Which models does no other beat in both values?

/// Whether each point is on the front: no other is as large in both and larger in one. NaN is on no
/// front.
pub fn front(points: &[[f64; 2]]) -> Vec<bool> {
    let beats =
        |a: &[f64; 2], b: &[f64; 2]| a[0] >= b[0] && a[1] >= b[1] && (a[0] > b[0] || a[1] > b[1]);
    points
        .iter()
        .map(|point| {
            let known = point.iter().all(|value| !value.is_nan());
            known && !points.iter().any(|other| beats(other, point))
        })
        .collect()
}
