//! Exponential function in a form that the compiler vectorises.

/// `e^x` within 2 ULP for x from -87 to 88; smaller x gives `e^-87`, about 1.6e-38.
///
/// Writes x as `n ln 2 + r` and sums the series of `e^r` to the seventh term.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 puts the product's nearest integer into the low bits of the sum.
    const SHIFT: f32 = 12_582_912.0;
    // ln 2 in two parts: the first has few bits, so that n times it is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut sum = 1.0 / 720.0;
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + factor;
    }
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    sum * power
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_matches_the_standard_library() {
        for step in -87_000..88_000 {
            let x = step as f32 / 1000.0;
            let relative = (super::exp(x) / x.exp() - 1.0).abs();
            assert!(relative < 3e-7, "{x}: {relative}");
        }
        assert!(super::exp(-1e30) < 1e-37);
    }
}
