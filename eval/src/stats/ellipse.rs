//! Confidence ellipse: the 95 % confidence region of a two-dimensional mean.

use serde::Serialize;

use super::mean::mean;

/// The 0.95 quantile of the chi-squared distribution with two degrees of freedom.
const CHI_SQUARED: f64 = 5.991_464_547_107_979;

/// A 95 % confidence ellipse of the mean of points (x, y).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ellipse {
    /// The center: the mean of x and the mean of y.
    pub center: [f64; 2],
    /// The lengths of the major and the minor half axis.
    pub half_axes: [f64; 2],
    /// The angle from the x axis to the major axis, in degrees.
    pub angle: f64,
}

/// The 95 % confidence ellipse of the mean of the points (x, y), from the eigenvalues of the covariance matrix of
/// the mean. `None` for fewer than three points.
pub fn ellipse(x: &[f64], y: &[f64]) -> Option<Ellipse> {
    if x.len() < 3 {
        return None;
    }
    let n = x.len() as f64;
    let center = [mean(x), mean(y)];
    let covariance = |a: &[f64], b: &[f64], mean_a: f64, mean_b: f64| {
        let products = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b));
        products.sum::<f64>() / (n - 1.0) / n
    };
    let xx = covariance(x, x, center[0], center[0]);
    let yy = covariance(y, y, center[1], center[1]);
    let xy = covariance(x, y, center[0], center[1]);
    let spread = f64::hypot(f64::midpoint(xx, -yy), xy);
    let middle = f64::midpoint(xx, yy);
    let half = |eigenvalue: f64| (eigenvalue.max(0.0) * CHI_SQUARED).sqrt();
    Some(Ellipse {
        center,
        half_axes: [half(middle + spread), half(middle - spread)],
        angle: (0.5 * f64::atan2(2.0 * xy, xx - yy)).to_degrees(),
    })
}
