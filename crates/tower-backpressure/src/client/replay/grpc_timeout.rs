//! `grpc-timeout`: the time that a gRPC call has left.

use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};

use crate::headers::grpc::{self, GRPC_TIMEOUT};

/// A malformed value is ignored. No more than a `u64` of nanoseconds, 584 years.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let left = grpc::timeout(headers.get(&GRPC_TIMEOUT)?.as_bytes())?;
    Some(left.min(Duration::from_nanos(u64::MAX)))
}

/// Writes what is left in the finest unit that has room for it, rounded down: a server that ends a call
/// early tells the caller, and one that ends it late works in vain.
pub(super) fn write(headers: &mut HeaderMap, left: Duration) {
    let units = [(left.as_nanos(), 'n'), (left.as_micros(), 'u'), (left.as_millis(), 'm')];
    let (amount, unit) = units
        .into_iter()
        .find(|(amount, _)| *amount < 10_u128.pow(MAX_DIGITS))
        .unwrap_or((u128::from(left.as_secs()).min(99_999_999), 'S'));
    let value = HeaderValue::try_from(format!("{amount}{unit}"));
    headers.insert(&GRPC_TIMEOUT, value.expect("digits and a letter are a valid value"));
}

/// gRPC over HTTP/2: `TimeoutValue` has at most eight digits.
const MAX_DIGITS: u32 = 8;

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
