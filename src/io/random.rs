//! Which numbers are drawn? A stream that is the same on every machine, defined in one line.

use crate::hash::mix64;

/// `SplitMix64` (Steele, Lea & Flood 2014).
///
/// ```
/// let mut random = polyphony_io::random::SplitMix64(0);
/// assert_eq!(random.next_u64(), 0xE220_A839_7B1D_CDAF);
/// ```
#[derive(Debug, Clone)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The numbers of a seed: those of seeds that are alike are not.
    pub fn seed_from_u64(seed: u64) -> Self {
        Self(mix64(seed))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix64(self.0)
    }

    /// A number from 0 up to but not including 1.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `n`: the upper half of bits times `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// The numbers below `count` in a random order.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut permutation: Vec<usize> = (0..count).collect();
        self.shuffle(&mut permutation);
        permutation
    }

    /// Brings things into a random order (Fisher & Yates).
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_holds_everything_once_and_repeats() {
        let permutation = SplitMix64::seed_from_u64(7).permutation(100);
        assert_eq!(permutation, SplitMix64::seed_from_u64(7).permutation(100));
        assert_ne!(permutation, SplitMix64::seed_from_u64(8).permutation(100));
        let mut sorted = permutation;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
