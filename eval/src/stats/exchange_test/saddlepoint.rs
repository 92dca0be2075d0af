//! Saddlepoint approximation: the tail of a sum of two-point variables (Lugannani and Rice 1980).

use statrs::distribution::{Continuous as _, ContinuousCDF as _, Normal};

use super::{TwoPoint, observed};

/// Saddlepoints nearer to 0, in standard deviations, take the series at the mean, where the formula is 0/0.
const NEAR_MEAN: f64 = 1e-3;

/// The cumulant generating function of the sum at a point, and its first three derivatives.
struct Cumulants {
    value: f64,
    mean: f64,
    variance: f64,
    third: f64,
}

fn cumulants(points: &[TwoPoint], at: f64) -> Cumulants {
    let mut sum = Cumulants {
        value: 0.0,
        mean: 0.0,
        variance: 0.0,
        third: 0.0,
    };
    for point in points {
        let gain = point.gain;
        // The larger of the two terms is taken out, so that no exponential overflows.
        let tilt = at * gain;
        let scale = tilt.max(0.0);
        let (gained, missed) = (
            point.gained * (tilt - scale).exp(),
            point.missed * (-scale).exp(),
        );
        let total = gained + missed;
        let (gained, missed) = (gained / total, missed / total);
        sum.value += scale + total.ln();
        sum.mean += gain * gained;
        sum.variance += gain * gain * gained * missed;
        sum.third += gain.powi(3) * gained * missed * (missed - gained);
    }
    sum
}

/// The probability of a sum of gains that is at least the observed one, which is neither the smallest nor the
/// largest sum. The relative error is a few percent.
pub(super) fn upper_tail(points: &[TwoPoint]) -> f64 {
    let observed = observed(points);
    let normal = Normal::standard();
    let center = cumulants(points, 0.0);
    let saddlepoint = solve(points, observed, &center);
    let tilted = cumulants(points, saddlepoint);
    let u = saddlepoint * tilted.variance.sqrt();
    if u.abs() < NEAR_MEAN {
        let z = (observed - center.mean) / center.variance.sqrt();
        let skewness = center.third / center.variance.powf(1.5);
        return normal.sf(z) + normal.pdf(z) * skewness * (z * z - 1.0) / 6.0;
    }
    let w = (2.0 * (saddlepoint * observed - tilted.value))
        .max(0.0)
        .sqrt();
    let w = w.copysign(saddlepoint);
    let tail = normal.sf(w) + normal.pdf(w) * (1.0 / u - 1.0 / w);
    if tail.is_finite() {
        tail.clamp(0.0, 1.0)
    } else {
        normal.sf(w)
    }
}

/// The point at which the tilted mean is `observed`: Newton's steps within a bracket.
fn solve(points: &[TwoPoint], observed: f64, center: &Cumulants) -> f64 {
    let start = (observed - center.mean) / center.variance;
    let (mut low, mut high) = if start < 0.0 {
        (f64::NEG_INFINITY, 0.0)
    } else {
        (0.0, f64::INFINITY)
    };
    let mut at = start;
    for _ in 0..200 {
        let here = cumulants(points, at);
        let excess = here.mean - observed;
        if excess > 0.0 {
            high = at;
        } else {
            low = at;
        }
        if excess.abs() <= 1e-10 * observed {
            break;
        }
        let next = at - excess / here.variance;
        at = if next > low && next < high && next.is_finite() {
            next
        } else if low.is_infinite() || high.is_infinite() {
            // Where the variance vanishes, Newton's step is too far: double instead.
            2.0 * at
        } else {
            f64::midpoint(low, high)
        };
    }
    at
}
