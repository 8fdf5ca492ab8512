//! Between nanoseconds, which order events, and seconds, in which spans are computed.

pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 * 1e-9
}

/// To the nearest nanosecond; what is too long is never.
pub(crate) fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9 + 0.5) as u64
}

/// A number made of two: the same two, the same number, and no pattern.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
    let mut z = (a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number in 0..1 made of such a number.
pub(crate) fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// What a step of an attempt is drawn with.
pub(crate) fn step_key(key: u64, round: u16, step: u16) -> u64 {
    mix(key, STEP + (u64::from(round) << 16 | u64::from(step)))
}

/// Past whatever else is drawn with a request's key.
const STEP: u64 = 1 << 40;
