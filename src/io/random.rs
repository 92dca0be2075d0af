//! Pseudo-random numbers: `SplitMix64`, the same stream on every machine for the same random seed.

use crate::hash::mix64;

/// The `SplitMix64` generator (Steele, Lea & Flood 2014). The field is its state.
///
/// ```
/// let mut random = polyphony_io::random::SplitMix64(0);
/// assert_eq!(random.next_u64(), 0xE220_A839_7B1D_CDAF);
/// ```
#[derive(Debug, Clone)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// A generator from a random seed. The seed is hashed, so that similar seeds give unrelated
    /// streams.
    pub fn seed_from_u64(seed: u64) -> Self {
        Self(mix64(seed))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix64(self.0)
    }

    /// A uniform number in [0, 1).
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A uniform integer in [0, n), by the multiply-shift method: the upper 64 bits of `bits * n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// A random permutation of 0..`count`.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut permutation: Vec<usize> = (0..count).collect();
        self.shuffle(&mut permutation);
        permutation
    }

    /// Shuffles a slice (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_has_every_index_once_and_is_reproducible() {
        let permutation = SplitMix64::seed_from_u64(7).permutation(100);
        assert_eq!(permutation, SplitMix64::seed_from_u64(7).permutation(100));
        assert_ne!(permutation, SplitMix64::seed_from_u64(8).permutation(100));
        let mut sorted = permutation;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
