//! Exact tail of a sum of two-point variables: whole gains by convolution, the others by enumeration.

use super::TwoPoint;

/// The largest number of gains that are no whole numbers, all of whose subsets are enumerated.
const MAX_FRACTIONAL: usize = 12;
/// The same where there are no other prompts.
const MAX_PROMPTS: usize = 16;
/// The largest number of steps of the convolution.
const MAX_STEPS: f64 = 16_777_216.0;
/// Gains that differ by less from a whole number are whole up to rounding.
const WHOLE: f64 = 1e-9;
/// Sums that differ by less are equal up to rounding.
const TIE: f64 = 1e-7;

/// The probability of a sum of gains that is at least the observed one; `None` where that takes too long.
pub(super) fn upper_tail(points: &[TwoPoint]) -> Option<f64> {
    let is_whole = |point: &&TwoPoint| (point.gain - point.gain.round()).abs() < WHOLE;
    let (whole, fractional): (Vec<&TwoPoint>, Vec<&TwoPoint>) = points.iter().partition(is_whole);
    let size: f64 = whole.iter().map(|point| point.gain.round()).sum();
    let are_many = fractional.len() > MAX_FRACTIONAL && points.len() > MAX_PROMPTS;
    if are_many || size * whole.len() as f64 > MAX_STEPS {
        return None;
    }
    let at_least = survival(&whole, size as usize);
    let gained = whole.iter().filter(|point| point.is_gained);
    let observed: f64 = gained.map(|point| point.gain.round()).sum();
    let gained = fractional.iter().filter(|point| point.is_gained);
    let observed = observed + gained.map(|point| point.gain).sum::<f64>();
    let mut tail = 0.0;
    for (sum, probability) in subsets(&fractional) {
        let missing = (observed - sum - TIE).ceil().max(0.0) as usize;
        tail += probability * at_least.get(missing).copied().unwrap_or_default();
    }
    Some(tail.min(1.0))
}

/// The probability that the sum of whole gains is at least 0, 1, 2, ... `size`. Only products and sums of positive
/// numbers, the smallest first, so that small probabilities are precise.
fn survival(whole: &[&TwoPoint], size: usize) -> Vec<f64> {
    let mut probabilities = vec![0.0; size + 1];
    probabilities[0] = 1.0;
    let mut top = 0;
    for point in whole {
        let gain = point.gain.round() as usize;
        top += gain;
        for sum in (gain..=top).rev() {
            probabilities[sum] =
                probabilities[sum] * point.missed + probabilities[sum - gain] * point.gained;
        }
        for probability in &mut probabilities[..gain] {
            *probability *= point.missed;
        }
    }
    for sum in (0..size).rev() {
        probabilities[sum] += probabilities[sum + 1];
    }
    probabilities
}

/// The sum and the probability of every subset of the gains.
fn subsets(points: &[&TwoPoint]) -> Vec<(f64, f64)> {
    let mut subsets = vec![(0.0, 1.0)];
    for point in points {
        let gained = subsets
            .iter()
            .map(|(sum, p)| (sum + point.gain, p * point.gained));
        let gained: Vec<(f64, f64)> = gained.collect();
        for (_, probability) in &mut subsets {
            *probability *= point.missed;
        }
        subsets.extend(gained);
    }
    subsets
}
