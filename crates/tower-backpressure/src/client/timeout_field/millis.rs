//! Times in milliseconds as header values that cost no allocation.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

/// `0ms` to `999ms`, to `9990ms` in steps of ten, to `99900ms` in steps of a hundred, each at the end of its row.
static TEXTS: [[u8; WIDTH]; ROWS] = texts();

const UNIT: &[u8] = b"ms";
const MAX_DIGITS: usize = 5;
const WIDTH: usize = MAX_DIGITS + UNIT.len();
/// The amounts below a thousand, and two decades of three digits and zeros. One decade more would reach 16 min,
/// where an allocation does not count.
const ROWS: usize = 1_000 + 2 * 900;

/// This time, or up to one in a hundred less, with its unit; `None`: it is longer than any in the table.
pub(super) fn value(left: Duration) -> Option<HeaderValue> {
    let millis = usize::try_from(left.as_millis()).ok()?;
    let (row, digits) = match millis {
        0..10 => (millis, 1),
        10..100 => (millis, 2),
        100..1_000 => (millis, 3),
        1_000..10_000 => (900 + millis / 10, 4),
        10_000..100_000 => (1_800 + millis / 100, 5),
        _ => return None,
    };
    let text = &TEXTS[row][MAX_DIGITS - digits..];
    HeaderValue::from_maybe_shared(Bytes::from_static(text)).ok()
}

const fn texts() -> [[u8; WIDTH]; ROWS] {
    let mut texts = [[b'0'; WIDTH]; ROWS];
    let mut row = 0;
    while row < ROWS {
        let mut amount = match row {
            0..1_000 => row,
            1_000..1_900 => (row - 900) * 10,
            _ => (row - 1_800) * 100,
        };
        let mut digit = MAX_DIGITS;
        while digit > 0 {
            digit -= 1;
            texts[row][digit] += (amount % 10) as u8;
            amount /= 10;
        }
        texts[row][MAX_DIGITS] = UNIT[0];
        texts[row][MAX_DIGITS + 1] = UNIT[1];
        row += 1;
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_below_a_hundred_seconds_is_told_to_three_digits_and_never_longer() {
        for millis in 0..100_000_u64 {
            let value = value(Duration::from_millis(millis)).expect("it is in the table");
            let text = value.to_str().expect("text").strip_suffix("ms").expect("the unit");
            let told: u64 = text.parse().expect("digits");
            assert!(told <= millis && (millis - told) * 100 <= millis, "{millis}: {text}");
            assert!(text == "0" || !text.starts_with('0'), "{text}");
        }
        for longer in [Duration::from_secs(100), Duration::MAX] {
            assert_eq!(value(longer), None);
        }
    }
}
