use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;

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

fn told(value: &str) -> Option<RetryAfter> {
    RetryAfter::from_headers(&headers(&[value]), at(NOW))
}

fn seconds_told(value: &str) -> Option<u64> {
    told(value).map(|told| told.delay().as_secs())
}

/// What the date says, seen ten seconds before `moment`.
fn names(value: &str, moment: u64) -> bool {
    let told = RetryAfter::from_headers(&headers(&[value]), at(moment - 10));
    told == Some(RetryAfter::new(Duration::from_secs(10)))
}

#[test]
fn seconds_are_digits() {
    assert_eq!(seconds_told("120"), Some(120));
    assert_eq!(seconds_told("0"), Some(0));
    assert_eq!(seconds_told("007"), Some(7));
    assert_eq!(seconds_told(" 120\t"), Some(120));
}

#[test]
fn what_is_not_the_grammar_says_nothing() {
    let wrong =
        ["+5", "-1", "1.5", "1e3", "0x10", "", " ", "120, 30", "١٢", "1m0s", "soon", "1 2", "NaN"];
    for value in wrong {
        assert_eq!(told(value), None, "{value:?}");
    }
}

#[test]
fn an_absurd_number_is_a_long_time_and_not_an_absent_one() {
    for value in
        ["601", "9223372037", "18446744073709551615", "99999999999999999999", &"9".repeat(4_000)]
    {
        let told = told(value).unwrap();
        assert_eq!(told.delay(), RetryAfter::MAX, "{value}");
        assert!(told.is_capped(), "{value}");
    }
    assert!(!told("600").unwrap().is_capped());
}

#[test]
fn the_three_date_formats_name_the_same_moment() {
    for value in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ] {
        assert!(names(value, 784_111_777), "{value}");
    }
}

#[test]
fn a_leap_second_is_the_one_after_59() {
    for value in [
        "Sat, 31 Dec 2016 23:59:60 GMT",
        "Saturday, 31-Dec-16 23:59:60 GMT",
        "Sat Dec 31 23:59:60 2016",
    ] {
        assert!(names(value, 1_483_228_800), "{value}");
    }
    assert_eq!(told("Sat, 31 Dec 2016 23:60:10 GMT"), None);
    assert_eq!(told("Sat, 31 Dec 2016 23:59:61 GMT"), None);
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
    assert!(told("Wednesday, 01-Jan-75 00:00:00 GMT").unwrap().is_capped());
}

#[test]
fn a_two_digit_year_may_lie_in_the_next_century() {
    let y2090 = at(3_786_912_000);
    let y2105 = 4_260_211_200;
    let parsed = date::parse("Thursday, 01-Jan-05 00:00:00 GMT", y2090).unwrap();
    assert_eq!(epoch_seconds(parsed), y2105);
}

#[test]
fn near_dates_are_not_dates() {
    for value in [
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Noday, 06-Nov-94 08:49:37 GMT",
        "Sunday, 31-Feb-94 08:49:37 GMT",
        "Sunday, 06-Nov-+4 08:49:37 GMT",
    ] {
        assert_eq!(told(value), None, "{value}");
    }
}

#[test]
fn a_date_that_has_passed_is_zero() {
    assert_eq!(seconds_told("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
}

#[test]
fn of_several_values_the_longest_valid_one_counts() {
    let several = headers(&["3", "soon", "7", "-9"]);
    let told = RetryAfter::from_headers(&several, at(NOW)).unwrap();
    assert_eq!(told.delay(), Duration::from_secs(7));
}

#[test]
fn the_servers_own_clock_is_preferred() {
    let mut headers = headers(&["Sun, 06 Nov 1994 08:49:37 GMT"]);
    headers.insert(DATE, "Sun, 06 Nov 1994 08:49:30 GMT".parse().unwrap());
    let told = RetryAfter::from_headers(&headers, at(NOW)).unwrap();
    assert_eq!(told.delay(), Duration::from_secs(7));

    headers.insert(DATE, "yesterday".parse().unwrap());
    let told = RetryAfter::from_headers(&headers, at(784_111_775)).unwrap();
    assert_eq!(told.delay(), Duration::from_secs(2));
}

#[test]
fn a_clock_before_1970_or_at_the_end_of_time_is_no_reason_to_panic() {
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
        if let Some(told) = RetryAfter::from_headers(&headers, at(now)) {
            prop_assert!(told.delay() <= RetryAfter::MAX);
        }
    }

    #[test]
    fn near_misses_of_a_date_never_panic(
        value in "(Sun|Mon|Friday|Sunday)(,)? ?[0-9]{0,3}[- ][A-Z][a-z]{2}[- ][0-9]{0,5} [0-9]{2}:[0-9]{2}:[0-9]{2}( GMT)?",
        now in 0_u64..=1 << 40,
    ) {
        if let Some(told) = RetryAfter::from_headers(&headers(&[&value]), at(now)) {
            prop_assert!(told.delay() <= RetryAfter::MAX);
        }
    }

    #[test]
    fn digits_come_back_as_they_went(seconds in any::<u64>(), zeros in 0_usize..5) {
        let told = told(&format!("{}{seconds}", "0".repeat(zeros))).unwrap();
        prop_assert_eq!(told.delay(), Duration::from_secs(seconds).min(RetryAfter::MAX));
        prop_assert_eq!(told.is_capped(), seconds > 600);
    }

    #[test]
    fn a_date_comes_back_as_it_went(moment in 0_u64..253_402_300_000, wait in 0_u64..=600) {
        let date = httpdate::fmt_http_date(at(moment + wait));
        let told = RetryAfter::from_headers(&headers(&[&date]), at(moment)).unwrap();
        prop_assert_eq!(told.delay(), Duration::from_secs(wait));
    }
}
