//! Logarithm and exponential from additions, multiplications and divisions alone.
//!
//! System libraries differ in the last bit of theirs, and one bit is enough to change the course of a
//! simulation. These give the same bits on every platform.

const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
const EXPONENT: u32 = 52;
const BIAS: i64 = 1_023;

/// The natural logarithm of a normal positive number, good to some 2⁻⁵².
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut power = (bits >> EXPONENT) as i64 - BIAS;
    let mut mantissa = f64::from_bits((bits & ((1 << EXPONENT) - 1)) | ((BIAS as u64) << EXPONENT));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        power += 1;
    }
    // ln m = 2 artanh((m − 1)/(m + 1)); the argument is below 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let mut series = 0.0;
    for odd in (1..=21_u32).rev().step_by(2) {
        series = series * z + 1.0 / f64::from(odd);
    }
    let power = power as f64;
    power * LN_2_HIGH + (2.0 * s * series + power * LN_2_LOW)
}

/// e to the power of `x`, for results that are normal numbers.
pub(crate) fn exp(x: f64) -> f64 {
    let power = (x / std::f64::consts::LN_2).round();
    let rest = x - power * LN_2_HIGH - power * LN_2_LOW;
    let mut series = 1.0;
    for n in (1..=14_u32).rev() {
        series = 1.0 + rest / f64::from(n) * series;
    }
    series * f64::from_bits(((power as i64 + BIAS) as u64) << EXPONENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_agree_with_the_library_to_the_last_digits() {
        for n in 1..20_000 {
            let x = f64::from(n) * 0.000_37;
            assert!((ln(x) - x.ln()).abs() <= 4e-15 * x.ln().abs().max(1.0), "ln {x}");
            let y = x - 3.0;
            assert!((exp(y) / y.exp() - 1.0).abs() < 1e-14, "exp {y}");
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }
}
