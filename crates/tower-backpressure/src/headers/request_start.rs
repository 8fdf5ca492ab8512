//! The time at which a proxy received a request: X-Request-Start and X-Queue-Start.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

static FIELDS: [HeaderName; 2] =
    [HeaderName::from_static("x-request-start"), HeaderName::from_static("x-queue-start")];

/// A longer time in a queue is an error of one of the two clocks.
const MAX_QUEUE_TIME: Duration = Duration::from_secs(60);

/// How long a request was on its way from the proxy, the longest that a field says. `now` is the time since
/// the Unix epoch. A time in the future, or more than a minute ago, says that the clocks differ: ignored.
pub(crate) fn queue_time(headers: &HeaderMap, now: Duration) -> Option<Duration> {
    let values = FIELDS.iter().flat_map(|field| headers.get_all(field));
    let since = |start: Duration| now.checked_sub(start).filter(|&since| since <= MAX_QUEUE_TIME);
    values.filter_map(|value| parse(value.as_bytes()).and_then(since)).max()
}

/// nginx writes `t=` and seconds with three decimals, Heroku milliseconds, others microseconds. No date
/// between 1990 and 2286 has the same number of digits in two of these units.
fn parse(value: &[u8]) -> Option<Duration> {
    let value = value.trim_ascii();
    let value = value.strip_prefix(b"t=").unwrap_or(value);
    let (whole, decimals) = match value.iter().position(|&byte| byte == b'.') {
        Some(point) => (&value[..point], &value[point + 1..]),
        None => (value, &b"0"[..]),
    };
    let nanos_per_unit = match whole.len() {
        10 => 1_000_000_000_u64,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return None,
    };
    let whole = digits(whole)?.checked_mul(nanos_per_unit)?;
    let scale = 10_u64.pow(u32::try_from(decimals.len()).ok().filter(|len| (1..=9).contains(len))?);
    let fraction = u128::from(digits(decimals)?) * u128::from(nanos_per_unit) / u128::from(scale);
    Some(Duration::from_nanos(whole.saturating_add(u64::try_from(fraction).ok()?)))
}

fn digits(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_millis(1_512_379_168_574);

    fn read(value: &str) -> Option<Duration> {
        let field = (FIELDS[0].clone(), value.parse().expect("a header value"));
        queue_time(&HeaderMap::from_iter([field]), NOW)
    }

    #[test]
    fn the_unit_follows_from_the_number_of_digits() {
        for value in [
            "t=1512379167.574",
            "1512379167.574",
            "t=1512379167574",
            "1512379167574",
            "1512379167574000",
            "1512379167574000000",
        ] {
            assert_eq!(read(value), Some(Duration::from_secs(1)), "{value}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_is_ignored() {
        for value in [
            "",
            "t=",
            "t=1512379169.574",
            "t=1512379100.0",
            "151237916",
            "t=1512379167.",
            "t=-1512379167",
            "1512379167.5.7",
            "9999999999999999999",
            "99999999999999999999",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }
}
