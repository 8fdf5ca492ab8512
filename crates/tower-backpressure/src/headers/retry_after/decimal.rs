//! Decimal numbers of seconds, rounded up so that no retry is early.

use std::time::Duration;

/// Digits of a fraction that count.
const NANO_DIGITS: usize = 9;

/// Digits, perhaps with a fraction, which is rounded up to nanoseconds. A number that does not fit is
/// the longest there is.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !is_digits(whole) {
        return None;
    }
    let seconds = whole.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds).saturating_add(fraction(decimals)?))
}

/// The digits after a decimal point, rounded up to nanoseconds.
pub(super) fn fraction(digits: &str) -> Option<Duration> {
    if !is_digits(digits) {
        return None;
    }
    let (nanos, rest) = digits.split_at(digits.len().min(NANO_DIGITS));
    let nanos: u64 = format!("{nanos:0<NANO_DIGITS$}").parse().ok()?;
    let rounded_up = u64::from(rest.bytes().any(|digit| digit != b'0'));
    Some(Duration::from_nanos(nanos + rounded_up))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
