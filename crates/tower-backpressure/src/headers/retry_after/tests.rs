use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;

mod forms;

/// 21 November 2026, 08:00:00 UTC.
const NOW: u64 = 1_795_248_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(RETRY_AFTER, value);
    }
    headers
}

fn parsed(value: &str) -> Option<RetryAfter> {
    RetryAfter::from_headers(&headers(&[value]), at(NOW))
}

fn strict(value: &str) -> Option<RetryAfter> {
    RetryAfter::strict(&headers(&[value]), at(NOW))
}

fn parsed_millis(value: &str) -> Option<u128> {
    parsed(value).map(|field| field.delay().as_millis())
}

fn parsed_seconds(value: &str) -> Option<u64> {
    parsed(value).map(|field| field.delay().as_secs())
}

/// Whether the date is `time`, read ten seconds before.
fn is_date_at(value: &str, time: u64) -> bool {
    let field = RetryAfter::from_headers(&headers(&[value]), at(time - 10));
    field == Some(RetryAfter::new(Duration::from_secs(10)))
}

#[test]
fn a_number_of_seconds_consists_of_digits() {
    assert_eq!(parsed_seconds("120"), Some(120));
    assert_eq!(parsed_seconds("0"), Some(0));
    assert_eq!(parsed_seconds("007"), Some(7));
    assert_eq!(parsed_seconds(" 120\t"), Some(120));
}

#[test]
fn a_value_outside_the_grammar_is_ignored_in_strict_mode() {
    let wrong =
        ["+5", "-1", "1.5", "1e3", "0x10", "", " ", "120, 30", "١٢", "1m0s", "soon", "1 2", "NaN"];
    for value in wrong {
        assert_eq!(strict(value), None, "{value:?}");
    }
}

#[test]
fn a_value_that_cannot_be_understood_is_a_second_and_never_at_once() {
    for value in ["+5", "1e3", "0x10", "", " ", "١٢", "soon", "1 2", "NaN", "5x", ".", "1.2.3", ","]
    {
        assert_eq!(parsed(value), Some(RetryAfter::new(RetryAfter::UNREADABLE)), "{value:?}");
    }
}

fn fields(pairs: &[(&'static str, &str)]) -> Option<RetryAfter> {
    let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value));
    let headers = pairs.map(|(name, value)| (name, value.parse().unwrap())).collect();
    RetryAfter::from_headers(&headers, at(NOW))
}

#[test]
fn a_number_that_is_too_large_is_capped_and_not_ignored() {
    for value in
        ["601", "9223372037", "18446744073709551615", "99999999999999999999", &"9".repeat(4_000)]
    {
        let field = parsed(value).unwrap();
        assert_eq!(field.delay(), RetryAfter::MAX, "{value}");
        assert!(field.is_capped(), "{value}");
    }
    assert!(!parsed("600").unwrap().is_capped());
}

#[test]
fn the_three_date_formats_have_the_same_meaning() {
    for value in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ] {
        assert!(is_date_at(value, 784_111_777), "{value}");
    }
}

#[test]
fn a_leap_second_is_parsed_as_the_second_after_59() {
    for value in [
        "Sat, 31 Dec 2016 23:59:60 GMT",
        "Saturday, 31-Dec-16 23:59:60 GMT",
        "Sat Dec 31 23:59:60 2016",
    ] {
        assert!(is_date_at(value, 1_483_228_800), "{value}");
    }
    assert_eq!(strict("Sat, 31 Dec 2016 23:60:10 GMT"), None);
    assert_eq!(strict("Sat, 31 Dec 2016 23:59:61 GMT"), None);
}

#[test]
fn a_two_digit_year_is_at_most_fifty_years_ahead() {
    let now = at(NOW);
    let year = |value| epoch_seconds(date::parse(value, now).unwrap());
    let (y1977, y2075, y2076) = (220_924_800, 3_313_526_400, 3_345_062_400);
    assert_eq!(year("Wednesday, 01-Jan-75 00:00:00 GMT"), y2075);
    assert_eq!(year("Tuesday, 01-Jan-75 00:00:00 GMT"), y2075);
    assert_eq!(year("Thursday, 01-Jan-76 00:00:00 GMT"), y2076);
    assert_eq!(year("Saturday, 01-Jan-77 00:00:00 GMT"), y1977);
    assert!(parsed("Wednesday, 01-Jan-75 00:00:00 GMT").unwrap().is_capped());
}

#[test]
fn a_two_digit_year_may_be_in_the_next_century() {
    let y2090 = at(3_786_912_000);
    let y2105 = 4_260_211_200;
    let parsed = date::parse("Thursday, 01-Jan-05 00:00:00 GMT", y2090).unwrap();
    assert_eq!(epoch_seconds(parsed), y2105);
}

#[test]
fn a_malformed_date_is_ignored_in_strict_mode() {
    for value in [
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Noday, 06-Nov-94 08:49:37 GMT",
        "Sunday, 31-Feb-94 08:49:37 GMT",
        "Sunday, 06-Nov-+4 08:49:37 GMT",
    ] {
        assert_eq!(strict(value), None, "{value}");
    }
}

#[test]
fn a_date_in_the_past_is_a_delay_of_zero() {
    assert_eq!(parsed_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
}

#[test]
fn the_longest_of_several_valid_values_counts() {
    let several = headers(&["3", "soon", "7"]);
    let field = RetryAfter::from_headers(&several, at(NOW)).unwrap();
    assert_eq!(field.delay(), Duration::from_secs(7));
}

#[test]
fn a_date_is_counted_from_the_date_field_if_that_is_valid() {
    let mut headers = headers(&["Sun, 06 Nov 1994 08:49:37 GMT"]);
    headers.insert(DATE, "Sun, 06 Nov 1994 08:49:30 GMT".parse().unwrap());
    let field = RetryAfter::from_headers(&headers, at(NOW)).unwrap();
    assert_eq!(field.delay(), Duration::from_secs(7));

    headers.insert(DATE, "yesterday".parse().unwrap());
    let field = RetryAfter::from_headers(&headers, at(784_111_775)).unwrap();
    assert_eq!(field.delay(), Duration::from_secs(2));
}

#[test]
fn a_clock_before_1970_or_in_the_far_future_does_not_panic() {
    let before = UNIX_EPOCH - Duration::from_secs(1);
    let late = at(i64::MAX as u64);
    for now in [before, late] {
        for value in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sat, 31 Dec 2016 23:59:60 GMT"] {
            let _ = RetryAfter::from_headers(&headers(&[value]), now);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_delay_exceeds_the_cap(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..48), 0..4),
        date in prop::collection::vec(any::<u8>(), 0..48),
        now in 0_u64..=1 << 40,
    ) {
        let mut headers = HeaderMap::new();
        for value in values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
            headers.append(RETRY_AFTER, value);
        }
        if let Ok(date) = HeaderValue::from_bytes(&date) {
            headers.insert(DATE, date);
        }
        for field in [
            RetryAfter::from_headers(&headers, at(now)),
            RetryAfter::strict(&headers, at(now)),
        ] {
            prop_assert!(field.is_none_or(|field| field.delay() <= RetryAfter::MAX));
        }
    }

    #[test]
    fn a_tolerant_delay_is_that_of_strict_mode_where_there_is_one(
        seconds in 0_u64..2_000, sent in 1_000_000_000_u64..4_000_000_000,
    ) {
        for value in [seconds.to_string(), httpdate::fmt_http_date(at(sent + seconds))] {
            let headers = headers(&[&value]);
            let tolerant = RetryAfter::from_headers(&headers, at(sent));
            prop_assert_eq!(tolerant, RetryAfter::strict(&headers, at(sent)));
        }
    }

    #[test]
    fn no_malformed_date_panics(
        value in "(Sun|Mon|Friday|Sunday)(,)? ?[0-9]{0,3}[- ][A-Z][a-z]{2}[- ][0-9]{0,5} [0-9]{2}:[0-9]{2}:[0-9]{2}( GMT)?",
        now in 0_u64..=1 << 40,
    ) {
        if let Some(field) = RetryAfter::from_headers(&headers(&[&value]), at(now)) {
            prop_assert!(field.delay() <= RetryAfter::MAX);
        }
    }

    #[test]
    fn a_number_of_seconds_is_parsed_exactly(seconds in any::<u64>(), zeros in 0_usize..5) {
        let field = strict(&format!("{}{seconds}", "0".repeat(zeros))).unwrap();
        prop_assert_eq!(field.delay(), Duration::from_secs(seconds).min(RetryAfter::MAX));
        prop_assert_eq!(field.is_capped(), seconds > 600);
    }

    #[test]
    fn a_formatted_date_is_parsed_exactly(sent in 0_u64..253_402_300_000, wait in 0_u64..=600) {
        let date = httpdate::fmt_http_date(at(sent + wait));
        let field = RetryAfter::from_headers(&headers(&[&date]), at(sent)).unwrap();
        prop_assert_eq!(field.delay(), Duration::from_secs(wait));
    }
}
