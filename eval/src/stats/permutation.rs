//! Permutation test of paired differences by sign flips (scipy: `permutation_test`, `samples`).

use polyphony_io::random::SplitMix64;

/// The largest number of differences for which all sign flips are tried.
const MAX_EXACT: usize = 16;

/// The result of the test: how many sign flips give a mean at least as far from zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignFlips {
    /// The number of sign flips at least as extreme as the data.
    pub as_extreme: usize,
    /// The number of sign flips that were tried.
    pub tried: usize,
    /// Two-sided: the share of those; where they were drawn (c + 1) / (N + 1), or Hoeffding's bound
    /// where that is less.
    pub p: f64,
}

/// Tries all sign flips of up to sixteen differences, else `permutations` random ones from `seed`
/// (Fisher 1935; Phipson & Smyth 2010 for the added one).
pub fn sign_flips(differences: &[f64], permutations: usize, seed: u64) -> SignFlips {
    let observed = differences.iter().sum::<f64>().abs();
    // Sums in another order differ in the last bits.
    let bar = observed - 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let extreme = |flip: &dyn Fn(usize) -> bool| {
        let signed = differences.iter().enumerate();
        let sum: f64 = signed.map(|(at, d)| if flip(at) { -d } else { *d }).sum();
        sum.abs() >= bar
    };
    if differences.len() <= MAX_EXACT {
        let tried = 1 << differences.len();
        let as_extreme = (0..tried).filter(|choice| extreme(&|at| choice >> at & 1 == 1));
        let as_extreme = as_extreme.count();
        return SignFlips {
            as_extreme,
            tried,
            p: as_extreme as f64 / tried as f64,
        };
    }
    let mut random = SplitMix64(seed);
    let words = differences.len().div_ceil(64);
    let as_extreme = (0..permutations)
        .filter(|_| {
            let bits: Vec<u64> = (0..words).map(|_| random.next_u64()).collect();
            extreme(&|at| bits[at / 64] >> (at % 64) & 1 == 1)
        })
        .count();
    // No draws are enough for the far tail, and corrections for many differences ask for it. The chance
    // is at most 2 exp(-S^2 / (2 sum d^2)), whatever the differences are (Hoeffding 1963).
    let squares: f64 = differences.iter().map(|d| d * d).sum();
    let bound = 2.0 * (-observed * observed / (2.0 * squares)).exp();
    let share = (as_extreme + 1) as f64 / (permutations + 1) as f64;
    SignFlips {
        as_extreme,
        tried: permutations,
        p: if bound < share { bound } else { share },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_of_the_far_tail_is_bounded_by_hoeffding() {
        // Forty of one sign and size: two of 2^40 choices are as extreme.
        let found = sign_flips(&[1.0; 40], 999, 7);
        assert_eq!(found.as_extreme, 0);
        assert!(found.p >= 2.0 * 0.5_f64.powi(40), "{found:?}");
        assert!(found.p < 1e-8, "{found:?}");
        // Where nothing differs, everything is as extreme.
        assert_eq!(sign_flips(&[0.0; 40], 999, 7).p, 1.0);
    }
}
