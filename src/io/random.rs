//! Which numbers are drawn? A stream that is the same on every machine, defined in one line.

use crate::hash::mix64;

/// `SplitMix64` (Steele, Lea & Flood 2014).
///
/// ```
/// let mut random = polyphony_io::random::SplitMix64(0);
/// assert_eq!(random.bits(), 0xE220_A839_7B1D_CDAF);
/// ```
#[derive(Debug, Clone)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The numbers of a seed: those of seeds that are alike are not.
    pub fn seeded(seed: u64) -> Self {
        Self(mix64(seed))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix64(self.0)
    }

    /// A number from 0 up to but not including 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `n`: the upper half of bits times `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// The numbers below `count` in a random order.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        self.shuffle(&mut order);
        order
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
        let order = SplitMix64::seeded(7).order(100);
        assert_eq!(order, SplitMix64::seeded(7).order(100));
        assert_ne!(order, SplitMix64::seeded(8).order(100));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
