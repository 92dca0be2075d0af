//! Permutation test of paired differences by random sign flips (scipy: `permutation_test` with
//! `permutation_type="samples"`).

use polyphony_io::random::SplitMix64;

/// The largest number of differences for which all 2^n sign flips are evaluated.
const MAX_EXACT: usize = 16;

/// The result of the sign-flip test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignFlips {
    /// The number of sign flips whose mean is at least as far from zero as that of the data.
    pub as_extreme: usize,
    /// The number of evaluated sign flips.
    pub tried: usize,
    /// The two-sided p-value: `as_extreme` / `tried` if all sign flips are evaluated; for random ones
    /// (`as_extreme` + 1) / (`tried` + 1), or Hoeffding's bound if that is smaller.
    pub p: f64,
}

/// The permutation test of the hypothesis that differences are symmetric around zero: all sign flips for up to
/// 16 differences, else `permutations` random ones with the random seed `seed` (Fisher 1935; Phipson & Smyth
/// 2010 for the added 1).
pub fn sign_flips(differences: &[f64], permutations: usize, seed: u64) -> SignFlips {
    let observed = differences.iter().sum::<f64>().abs();
    // Tolerance: rounding errors of the sums depend on the signs.
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
    // Random sign flips cannot resolve a p-value below 1 / (permutations + 1), but corrections for multiple
    // testing need smaller ones. Hoeffding (1963) bounds p by 2 exp(-S^2 / (2 sum d^2)) for any differences.
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
        // Forty equal differences: 2 of 2^40 sign flips are as extreme.
        let flips = sign_flips(&[1.0; 40], 999, 7);
        assert_eq!(flips.as_extreme, 0);
        assert!(flips.p >= 2.0 * 0.5_f64.powi(40), "{flips:?}");
        assert!(flips.p < 1e-8, "{flips:?}");
        // If all differences are zero, every sign flip is as extreme as the data.
        assert_eq!(sign_flips(&[0.0; 40], 999, 7).p, 1.0);
    }
}
