//! `grpc-timeout`: the time that a gRPC call has left.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// One to eight digits and a unit; anything else is ignored.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(&GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let is_valid = (1..=MAX_DIGITS).contains(&digits.len());
    let amount: u64 =
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    let nanos_per_unit = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return None,
    };
    is_valid.then(|| Duration::from_nanos(amount.saturating_mul(nanos_per_unit)))
}

/// Writes what is left in the finest unit that has room for it, rounded down: a server that ends a call
/// early tells the caller, and one that ends it late works in vain.
pub(super) fn write(headers: &mut HeaderMap, left: Duration) {
    let units = [(left.as_nanos(), 'n'), (left.as_micros(), 'u'), (left.as_millis(), 'm')];
    let (amount, unit) = units
        .into_iter()
        .find(|(amount, _)| *amount < 10_u128.pow(MAX_DIGITS as u32))
        .unwrap_or((u128::from(left.as_secs()).min(99_999_999), 'S'));
    let value = HeaderValue::try_from(format!("{amount}{unit}"));
    headers.insert(&GRPC_TIMEOUT, value.expect("digits and a letter are a valid value"));
}

/// gRPC over HTTP/2: `TimeoutValue` has at most eight digits.
const MAX_DIGITS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_value(value: &str) -> Option<Duration> {
        read(&HeaderMap::from_iter([(GRPC_TIMEOUT.clone(), value.parse().unwrap())]))
    }

    #[test]
    fn each_unit_is_read() {
        assert_eq!(read_value("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(read_value("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read_value("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read_value("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read_value("250u"), Some(Duration::from_micros(250)));
        assert_eq!(read_value("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(read_value("99999999H"), Some(Duration::from_nanos(u64::MAX)));
    }

    #[test]
    fn a_malformed_value_is_no_timeout() {
        for value in ["", "S", "1", "1s", "+1S", "1.5S", "123456789m", "-1S", " 1S", "1 S"] {
            assert_eq!(read_value(value), None, "{value:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_never_longer() {
        for nanos in [0, 1, 99_999_999, 100_000_000, 12_345_678_901, 40_000_000_000_000_000] {
            let left = Duration::from_nanos(nanos);
            let mut headers = HeaderMap::new();
            write(&mut headers, left);
            let read = read(&headers).unwrap();
            assert!(read <= left && left - read <= Duration::from_secs(1), "{left:?}: {read:?}");
        }
    }
}
