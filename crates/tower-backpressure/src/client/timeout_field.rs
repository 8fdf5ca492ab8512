//! The time that a request has left, as a header field: `grpc-timeout` of a gRPC call, `Request-Timeout` of any
//! other.

mod millis;

use std::io::Write;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};

use crate::client::classify::is_grpc_call;
use crate::headers::grpc::{self, GRPC_TIMEOUT};
use crate::headers::timeout::{REQUEST_TIMEOUT_FIELD, timeout};

/// `grpc-timeout`. A malformed value is ignored. No more than a `u64` of nanoseconds, 584 years.
pub(super) fn read_grpc(headers: &HeaderMap) -> Option<Duration> {
    let left = grpc::timeout(headers.get(&GRPC_TIMEOUT)?.as_bytes())?;
    Some(left.min(Duration::from_nanos(u64::MAX)))
}

/// Tells the server that this much time is left, or up to one in a hundred less, unless the request says already
/// that it is less.
pub(super) fn tell(headers: &mut HeaderMap, left: Duration) {
    if timeout(headers).is_some_and(|told| told <= left) {
        return;
    }
    if is_grpc_call(headers) {
        headers.insert(&GRPC_TIMEOUT, grpc_value(left));
    } else {
        let value = millis::value(left).unwrap_or_else(|| format(left.as_millis(), "ms"));
        headers.insert(&REQUEST_TIMEOUT_FIELD, value);
    }
}

/// Keeps the field of the caller true for a request that is sent later, or again. Without a field only a gRPC call
/// gets one: servers of gRPC know theirs. Others get one from the attempt timeout, which calls [`tell`].
pub(super) fn refresh(headers: &mut HeaderMap, left: Duration) {
    if headers.contains_key(&REQUEST_TIMEOUT_FIELD) || is_grpc_call(headers) {
        tell(headers, left);
    }
}

/// What is left in the finest unit that has room for it, rounded down: a server that ends a call early tells the
/// caller, and one that ends it late works in vain.
fn grpc_value(left: Duration) -> HeaderValue {
    let units = [(left.as_nanos(), "n"), (left.as_micros(), "u"), (left.as_millis(), "m")];
    let (amount, unit) = units
        .into_iter()
        .find(|(amount, _)| *amount < 10_u128.pow(MAX_DIGITS))
        .unwrap_or((u128::from(left.as_secs()).min(99_999_999), "S"));
    format(amount, unit)
}

/// gRPC over HTTP/2: `TimeoutValue` has at most eight digits.
const MAX_DIGITS: u32 = 8;

/// Digits and a unit, in one allocation.
fn format(amount: u128, unit: &str) -> HeaderValue {
    let mut text = [0; MAX_LEN];
    let mut rest = &mut text[..];
    write!(rest, "{amount}{unit}").expect("it is no longer than that");
    let unused = rest.len();
    let written = &text[..MAX_LEN - unused];
    HeaderValue::from_bytes(written).expect("digits and letters are a valid value")
}

/// The digits of the longest `Duration` in milliseconds, which are 23, and a unit.
const MAX_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_value(value: &str) -> Option<Duration> {
        read_grpc(&HeaderMap::from_iter([(GRPC_TIMEOUT.clone(), value.parse().unwrap())]))
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
    fn a_request_that_says_how_long_it_has_is_told_the_time_that_is_left_and_never_more() {
        let mut headers = HeaderMap::new();
        let second = Duration::from_secs(1);
        refresh(&mut headers, second);
        assert!(headers.is_empty());
        for (left, told) in [(2 * second, "2000ms"), (second, "1000ms"), (2 * second, "1000ms")] {
            tell(&mut headers, left);
            assert_eq!(headers[&REQUEST_TIMEOUT_FIELD], told);
        }
        refresh(&mut headers, Duration::from_micros(1_900));
        assert_eq!(headers[&REQUEST_TIMEOUT_FIELD], "1ms");
    }

    #[test]
    fn a_grpc_call_that_has_less_time_keeps_what_it_says() {
        let grpc = (http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let half = (GRPC_TIMEOUT.clone(), HeaderValue::from_static("500m"));
        let mut headers = HeaderMap::from_iter([grpc, half]);
        for (left, told) in [(2_000, "500m"), (500, "500m"), (200, "200000u"), (3_000, "200000u")] {
            tell(&mut headers, Duration::from_millis(left));
            assert_eq!(headers[&GRPC_TIMEOUT], told);
        }
    }

    #[test]
    fn a_time_beyond_the_table_is_told_to_the_millisecond() {
        for (left, told) in [
            (Duration::from_millis(100_001), "100001ms"),
            (Duration::from_secs(3_600), "3600000ms"),
            (Duration::MAX, "18446744073709551615999ms"),
        ] {
            let mut headers = HeaderMap::new();
            tell(&mut headers, left);
            assert_eq!(headers[&REQUEST_TIMEOUT_FIELD], told);
        }
    }

    #[test]
    fn a_written_time_is_read_as_the_same_or_as_less() {
        for nanos in [0, 1, 99_999_999, 100_000_000, 12_345_678_901, 40_000_000_000_000_000] {
            let left = Duration::from_nanos(nanos);
            let headers = HeaderMap::from_iter([(GRPC_TIMEOUT.clone(), grpc_value(left))]);
            let read = read_grpc(&headers).unwrap();
            assert!(
                read <= left && left - read <= (left / 100).min(Duration::from_secs(1)),
                "{left:?}: {read:?}"
            );
        }
    }
}
