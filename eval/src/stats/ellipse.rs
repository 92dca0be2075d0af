//! Confidence ellipse: the 95 % confidence region of a two-dimensional mean, by Hotelling's T-squared.

use serde::Serialize;

use super::mean::mean;

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

/// A symmetric 2 x 2 matrix: xx, xy, yy.
type Symmetric = [f64; 3];

/// The 95 % confidence ellipse of the mean of the points (x, y), from the eigenvalues of the covariance matrix of
/// the mean and the distribution of Hotelling's T-squared: 2 (n - 1) / (n - 2) times the 0.95 quantile of F with 2
/// and n - 2 degrees of freedom (Hotelling 1931). `None` for fewer than three points.
pub fn ellipse(x: &[f64], y: &[f64]) -> Option<Ellipse> {
    ellipse_of_runs([x, y], [&[], &[]])
}

/// The 95 % confidence ellipse of a mean over prompts and over training runs: `prompts` are x and y by prompt, as
/// means over runs, `runs` are x and y by run, as means over prompts. The covariance is the sum over both levels,
/// with the degrees of freedom that Krishnamoorthy & Yu (2004) give for such a sum, and at least two. Fewer
/// than two runs count as fixed. `None` for fewer than three prompts.
pub fn ellipse_of_runs(prompts: [&[f64]; 2], runs: [&[f64]; 2]) -> Option<Ellipse> {
    if prompts[0].len() < 3 {
        return None;
    }
    let levels = [prompts, runs]
        .into_iter()
        .filter(|level| level[0].len() > 1);
    let levels: Vec<(Symmetric, f64)> = levels
        .map(|level| (covariance_of_mean(level), level[0].len() as f64 - 1.0))
        .collect();
    let total = [0, 1, 2].map(|at| levels.iter().map(|(level, _)| level[at]).sum::<f64>());
    let [xx, xy, yy] = total;
    let radius = t_squared(freedom(&levels, total).max(2.0));
    let spread = f64::hypot(f64::midpoint(xx, -yy), xy);
    let middle = f64::midpoint(xx, yy);
    let half = |eigenvalue: f64| (eigenvalue.max(0.0) * radius).sqrt();
    Some(Ellipse {
        center: prompts.map(mean),
        half_axes: [half(middle + spread), half(middle - spread)],
        angle: (0.5 * f64::atan2(2.0 * xy, xx - yy)).to_degrees(),
    })
}

/// The 0.95 quantile of Hotelling's T-squared in two dimensions with v degrees of freedom: 2 v / (v - 1) times that
/// of F with 2 and v - 1, whose distribution function is 1 - (1 + 2 f / (v - 1)) ^ (-(v - 1) / 2).
fn t_squared(freedom: f64) -> f64 {
    freedom * (0.05_f64.powf(-2.0 / (freedom - 1.0)) - 1.0)
}

/// The covariance matrix of the mean of (x, y).
fn covariance_of_mean([x, y]: [&[f64]; 2]) -> Symmetric {
    let n = x.len() as f64;
    let covariance = |a: &[f64], b: &[f64]| {
        let (mean_a, mean_b) = (mean(a), mean(b));
        let products = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b));
        products.sum::<f64>() / (n - 1.0) / n
    };
    [covariance(x, x), covariance(x, y), covariance(y, y)]
}

/// The degrees of freedom of a sum of covariance matrices: 6 over the sum of (tr(A A) + tr(A)^2) / freedom, where A
/// is a matrix of the sum times the inverse of the sum. That of the first alone where the sum is singular.
fn freedom(levels: &[(Symmetric, f64)], [xx, xy, yy]: Symmetric) -> f64 {
    let determinant = xx * yy - xy * xy;
    let first = levels.first().map_or(f64::NAN, |(_, freedom)| *freedom);
    if levels.len() == 1 || determinant <= 1e-12 * xx * yy {
        return first;
    }
    let shares = levels.iter().map(|([a, b, c], freedom)| {
        // A = level x inverse, row by row.
        let product = [
            (a * yy - b * xy) / determinant,
            (b * xx - a * xy) / determinant,
            (b * yy - c * xy) / determinant,
            (c * xx - b * xy) / determinant,
        ];
        let trace = product[0] + product[3];
        let trace_of_square =
            product[0] * product[0] + 2.0 * product[1] * product[2] + product[3] * product[3];
        (trace_of_square + trace * trace) / freedom
    });
    6.0 / shares.sum::<f64>()
}
