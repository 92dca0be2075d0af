//! How often would signs drawn at random give so large a mean? The sign-flip test.

use polyphony_io::random::SplitMix64;

/// Up to so many differences all choices of signs are tried.
const ALL: usize = 16;

/// How many choices of signs give a mean at least as far from zero, of how many tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignFlips {
    /// As extreme as what was seen.
    pub as_extreme: usize,
    /// Choices that were tried.
    pub tried: usize,
    /// Two-sided: the share of those; where they were drawn (c + 1) / (N + 1), or Hoeffding's bound
    /// where that is less.
    pub p: f64,
}

/// Tries all choices of signs of up to sixteen differences, else `draws` drawn from `seed`
/// (Fisher 1935; Phipson & Smyth 2010 for the added one).
pub fn sign_flips(differences: &[f64], draws: usize, seed: u64) -> SignFlips {
    let observed = differences.iter().sum::<f64>().abs();
    // Sums in another order differ in the last bits.
    let bar = observed - 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let extreme = |flip: &dyn Fn(usize) -> bool| {
        let signed = differences.iter().enumerate();
        let sum: f64 = signed.map(|(at, d)| if flip(at) { -d } else { *d }).sum();
        sum.abs() >= bar
    };
    if differences.len() <= ALL {
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
    let as_extreme = (0..draws)
        .filter(|_| {
            let bits: Vec<u64> = (0..words).map(|_| random.next_u64()).collect();
            extreme(&|at| bits[at / 64] >> (at % 64) & 1 == 1)
        })
        .count();
    // No draws are enough for the far tail, and corrections for many differences ask for it. The chance
    // is at most 2 exp(-S^2 / (2 sum d^2)), whatever the differences are (Hoeffding 1963).
    let squares: f64 = differences.iter().map(|d| d * d).sum();
    let bound = 2.0 * (-observed * observed / (2.0 * squares)).exp();
    let share = (as_extreme + 1) as f64 / (draws + 1) as f64;
    SignFlips {
        as_extreme,
        tried: draws,
        p: if bound < share { bound } else { share },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_tail_is_bounded_and_not_cut_off_by_the_draws() {
        // Forty of one sign and size: two of 2^40 choices are as extreme.
        let found = sign_flips(&[1.0; 40], 999, 7);
        assert_eq!(found.as_extreme, 0);
        assert!(found.p >= 2.0 * 0.5_f64.powi(40), "{found:?}");
        assert!(found.p < 1e-8, "{found:?}");
        // Where nothing differs, everything is as extreme.
        assert_eq!(sign_flips(&[0.0; 40], 999, 7).p, 1.0);
    }
}
