//! Nanoseconds, which order events, and seconds, in which spans are computed.

pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 * 1e-9
}

/// To the nearest nanosecond. A span that is too long for the type saturates.
pub(crate) fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9 + 0.5) as u64
}

/// A hash of two numbers.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
    let mut z = (a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number in 0..1 made of a hash.
pub(crate) fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Key of the random numbers of a step of an attempt.
pub(crate) fn step_key(key: u64, round: u16, step: u16) -> u64 {
    mix(key, STEP + (u64::from(round) << 16 | u64::from(step)))
}

/// Above every other constant that is mixed into the key of a request.
const STEP: u64 = 1 << 40;
