//! Forms of the fields that RFC 9110 does not know.

use super::*;

#[test]
fn decimals_durations_and_lists_are_understood() {
    for (value, millis) in [
        ("1.5", 1_500),
        ("2.0", 2_000),
        ("0.493", 493),
        ("299.997", 299_997),
        ("\"2\"", 2_000),
        ("30s", 30_000),
        ("1m0s", 60_000),
        ("6m0s", 360_000),
        ("0h8m31.5s", 511_500),
        ("20ms", 20),
        ("500 ms", 500),
        ("30 seconds", 30_000),
        ("1 minute 30 secs", 90_000),
        ("PT1M30S", 90_000),
        ("2, 3", 3_000),
        ("3,soon, 1", 3_000),
        ("5, soon", 5_000),
        ("1, Sat, 21 Nov 2026 08:00:07 GMT", 7_000),
        ("Sat, 21 Nov 2026 08:00:09 GMT, Sat, 21 Nov 2026 08:00:04 GMT", 9_000),
    ] {
        assert_eq!(parsed_millis(value), Some(millis), "{value}");
    }
}

#[test]
fn a_fraction_is_rounded_up_to_nanoseconds() {
    let field = parsed("1.0000000001").unwrap();
    assert_eq!(field.delay(), Duration::new(1, 1));
}

#[test]
fn a_unix_time_is_told_from_a_delay_by_its_size() {
    for value in ["1795248030", "1795248030.0", "1795248030000", "1795248030000000"] {
        assert_eq!(parsed_seconds(value), Some(30), "{value}");
    }
    assert_eq!(parsed_seconds("1795247000"), Some(0), "in the past");
    assert!(parsed("999999999").unwrap().is_capped(), "a delay of 31 years");
}

#[test]
fn a_negative_delay_forbids_a_retry_and_a_negative_zero_does_not() {
    for value in ["-1", "-120", "-0.5"] {
        let field = parsed(value).unwrap();
        assert!(field.forbids_retry() && field.is_capped(), "{value}");
    }
    assert_eq!(parsed_seconds("-0"), Some(0));
    assert!(!parsed("5").unwrap().forbids_retry());
}

#[test]
fn a_server_that_says_not_to_retry_is_obeyed() {
    for name in ["x-should-retry", "stripe-should-retry"] {
        for (value, forbids) in [("false", true), ("true", false)] {
            let mut headers = headers(&["5"]);
            headers.insert(name, value.parse().unwrap());
            let field = RetryAfter::from_headers(&headers, at(NOW)).unwrap();
            assert_eq!(field.forbids_retry(), forbids, "{name}: {value}");
        }
    }
}

#[test]
fn fields_of_vendors_are_understood_and_the_longest_counts() {
    for (pairs, millis) in [
        (&[("retry-after-ms", "1500")][..], 1_500),
        (&[("x-ms-retry-after-ms", "42")], 42),
        (&[("retry-after-ms", "2m59.56s")], 179_560),
        (&[("x-retry-after", "7")], 7_000),
        (&[("retry-after", "2"), ("retry-after-ms", "1500")], 2_000),
        (&[("grpc-retry-pushback-ms", "250")], 250),
    ] {
        let field = fields(pairs).unwrap();
        assert_eq!(field.delay().as_millis(), millis, "{pairs:?}");
    }
    for value in ["-1", "soon", ""] {
        assert!(fields(&[("grpc-retry-pushback-ms", value)]).unwrap().forbids_retry(), "{value:?}");
    }
}

#[test]
fn the_reset_of_a_used_up_rate_limit_is_a_time_to_return() {
    for (pairs, seconds) in [
        (&[("ratelimit", "\"default\";r=0;t=30")][..], Some(30)),
        (&[("ratelimit", "\"burst\";r=0;t=5, \"daily\";r=0;t=90")], Some(90)),
        (&[("ratelimit", "\"burst\";r=0;t=5, \"daily\";r=3;t=90")], Some(5)),
        (&[("ratelimit", "\"default\";r=7;t=30")], None),
        (&[("ratelimit", "limit=100, remaining=0, reset=50")], Some(50)),
        (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "12")], Some(12)),
        (&[("ratelimit-remaining", "4"), ("ratelimit-reset", "12")], None),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795248045")], Some(45)),
        (&[("x-ratelimit-reset", "1795248045000")], Some(45)),
        (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")], Some(360)),
        (
            &[
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-11-21T08:00:09Z"),
                ("anthropic-ratelimit-tokens-remaining", "16000"),
                ("anthropic-ratelimit-tokens-reset", "2026-11-21T08:00:59Z"),
            ],
            Some(9),
        ),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "7")], Some(7)),
        (&[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset-after", "7")], None),
        (&[("x-rate-limit-reset", "2026-11-21T08:01Z")], Some(60)),
        // A reset that has passed says nothing.
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1499329365")], None),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "0")], None),
        // Retry-After goes before them, and a cached response does not count.
        (&[("retry-after", "3"), ("x-ratelimit-reset", "12")], Some(3)),
        (&[("ratelimit", "\"default\";r=0;t=30"), ("age", "10")], None),
        (&[("ratelimit", "nonsense;r=0;t=x")], None),
    ] {
        let delay = fields(pairs).map(|field| field.delay().as_secs());
        assert_eq!(delay, seconds, "{pairs:?}");
    }
}

#[test]
fn dates_in_other_forms_are_understood() {
    for value in [
        "sat, 21 nov 2026 08:00:20 gmt",
        "Sat, 21 Nov 2026 08:00:20 UTC",
        "Sat, 21 Nov 2026 08:00:20 +0000",
        "Sat, 21 Nov 2026 10:00:20 +0200",
        "Sat, 21 Nov 2026 03:00:20 -05:00",
        "Fri, 21 Nov 2026 08:00:20 GMT",
        "21 Nov 2026 08:00:20 GMT",
        "Saturday, 21-nov-26 08:00:20 GMT",
        "2026-11-21T08:00:20Z",
        "2026-11-21T08:00:20.000Z",
        "2026-11-21T09:00:20+01:00",
        "2026-11-21 08:00:20",
        "2026-11-21 08:00:20 UTC",
        "Sat, 21 Nov 2026 08:00:19 GMT, 20",
    ] {
        assert_eq!(parsed_seconds(value), Some(20), "{value}");
    }
}

#[test]
fn the_fraction_of_a_date_counts_so_that_no_retry_is_early() {
    assert_eq!(parsed_millis("2026-11-21T08:00:20.125Z"), Some(20_125));
    assert_eq!(parsed_millis("2026-11-21T08:01:60.5Z"), Some(120_500));
    assert_eq!(parsed_millis("2026-11-21T08:01Z"), Some(60_000));
    let micros = fields(&[("retry-after-ms", "0.0001")]).unwrap();
    assert_eq!(micros.delay(), Duration::from_nanos(100));
}

#[test]
fn the_age_of_a_cached_response_counts() {
    let delay = fields(&[
        ("retry-after", "Sat, 21 Nov 2026 08:00:40 GMT"),
        ("date", "Sat, 21 Nov 2026 07:59:50 GMT"),
        ("age", "30"),
    ]);
    assert_eq!(delay.unwrap().delay(), Duration::from_secs(20));
}
