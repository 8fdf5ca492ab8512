//! The time that a caller waits for a response, as the fields of several protocols say it.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::grpc::{self, GRPC_TIMEOUT};
use super::number;

/// Header in which a caller says for how long it waits: seconds with up to nine decimals, or a number with
/// a unit, `h`, `m`, `s`, `ms`, `us` or `ns`. `Request-Timeout: 1.5` and `Request-Timeout: 1500ms` say the
/// same.
pub const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");

pub(crate) static REQUEST_TIMEOUT_FIELD: HeaderName = REQUEST_TIMEOUT;
static CONNECT_TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
static ENVOY_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// The shortest time that any of the fields names; `None`: none is valid. A malformed value is ignored, as
/// if it were not there: a caller that cannot say how long it waits is not turned away for it.
///
/// Most requests have few fields, and none of these: comparing names is faster than four look-ups.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    type Parse = fn(&[u8]) -> Option<Duration>;
    let fields: [(&HeaderName, Parse); 4] = [
        (&GRPC_TIMEOUT, grpc::timeout),
        (&CONNECT_TIMEOUT, connect),
        (&ENVOY_TIMEOUT, envoy),
        (&REQUEST_TIMEOUT_FIELD, request_timeout),
    ];
    let told = headers.iter().filter_map(|(name, value)| {
        let (_, parse) = fields.iter().find(|(field, _)| *field == name)?;
        parse(value.as_bytes())
    });
    told.min()
}

/// The Connect protocol: up to ten digits.
fn connect(value: &[u8]) -> Option<Duration> {
    number(value, 10).map(Duration::from_millis)
}

/// Envoy sends its field where it has a timeout, for which it takes no 0.
fn envoy(value: &[u8]) -> Option<Duration> {
    number(value, 18).filter(|&millis| millis > 0).map(Duration::from_millis)
}

fn request_timeout(value: &[u8]) -> Option<Duration> {
    let value = value.trim_ascii();
    let end = value.iter().position(u8::is_ascii_alphabetic).unwrap_or(value.len());
    let (amount, unit) = value.split_at(end);
    let nanos_per_unit: u128 = match unit {
        b"h" => 3_600_000_000_000,
        b"m" => 60_000_000_000,
        b"" | b"s" => 1_000_000_000,
        b"ms" => 1_000_000,
        b"us" => 1_000,
        b"ns" => 1,
        _ => return None,
    };
    let nanos = match amount.iter().position(|&byte| byte == b'.') {
        None => u128::from(number(amount, 18)?) * nanos_per_unit,
        Some(point) => {
            let (whole, decimals) = (&amount[..point], &amount[point + 1..]);
            let scale = 10_u128.pow(u32::try_from(decimals.len()).ok().filter(|&len| len <= 9)?);
            let decimals = u128::from(number(decimals, 9)?) * nanos_per_unit / scale;
            u128::from(number(whole, 18)?) * nanos_per_unit + decimals
        }
    };
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Option<Duration> {
        let fields = fields.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))
        });
        timeout(&fields.collect())
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_field_is_read_in_its_own_units() {
        for (name, value, expected) in [
            ("grpc-timeout", "250m", 250 * MS),
            ("grpc-timeout", "2S", 2_000 * MS),
            ("grpc-timeout", "0n", Duration::ZERO),
            ("grpc-timeout", "99999999H", Duration::from_secs(99_999_999 * 3_600)),
            ("connect-timeout-ms", "9999999999", Duration::from_millis(9_999_999_999)),
            ("x-envoy-expected-rq-timeout-ms", "15000", 15_000 * MS),
            ("request-timeout", "1.5", 1_500 * MS),
            ("request-timeout", "1500ms", 1_500 * MS),
            ("request-timeout", "0.25m", 15_000 * MS),
            ("request-timeout", "0", Duration::ZERO),
            ("request-timeout", "999999999999999999h", Duration::from_nanos(u64::MAX)),
        ] {
            assert_eq!(read(&[(name, value)]), Some(expected), "{name}: {value}");
        }
    }

    #[test]
    fn a_malformed_value_is_ignored() {
        for (name, value) in [
            ("grpc-timeout", "123456789m"),
            ("grpc-timeout", "5"),
            ("grpc-timeout", "m"),
            ("grpc-timeout", "-5m"),
            ("grpc-timeout", "5 m"),
            ("grpc-timeout", "5s"),
            ("connect-timeout-ms", "12345678901"),
            ("connect-timeout-ms", "1.5"),
            ("x-envoy-expected-rq-timeout-ms", "0"),
            ("request-timeout", ".5"),
            ("request-timeout", "1."),
            ("request-timeout", "1.0000000001"),
            ("request-timeout", "+1"),
            ("request-timeout", "1d"),
            ("request-timeout", "1, 2"),
            ("request-timeout", ""),
        ] {
            assert_eq!(read(&[(name, value)]), None, "{name}: {value}");
        }
    }

    #[test]
    fn the_shortest_of_all_fields_and_lines_counts() {
        let fields = [
            ("grpc-timeout", "3S"),
            ("grpc-timeout", "nonsense"),
            ("connect-timeout-ms", "2500"),
            ("request-timeout", "2"),
            ("request-timeout", "4"),
        ];
        assert_eq!(read(&fields), Some(2_000 * MS));
    }
}
