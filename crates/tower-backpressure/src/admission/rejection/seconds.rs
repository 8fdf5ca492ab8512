//! Retry-After in whole seconds.

use std::time::Duration;

use http::HeaderValue;

/// Rounded up, and at least 1: rounding down would bring the caller back too early, and 0 at once.
pub(crate) fn whole_seconds(wait: Duration) -> HeaderValue {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
    match usize::try_from(seconds).ok().and_then(|seconds| COMMON.get(seconds)) {
        Some(text) => HeaderValue::from_static(text),
        None => HeaderValue::from(seconds),
    }
}

/// The most common values, so that they need no allocation.
const COMMON: [&str; 61] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32",
    "33", "34", "35", "36", "37", "38", "39", "40", "41", "42", "43", "44", "45", "46", "47", "48",
    "49", "50", "51", "52", "53", "54", "55", "56", "57", "58", "59", "60",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_never_zero() {
        for (millis, said) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (61_000, "61")] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), said, "{millis} ms");
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX.to_string());
    }
}
