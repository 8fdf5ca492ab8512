//! Fuzzes the parser of Retry-After: `cargo +nightly fuzz run retry_after -- -dict=fuzz/retry_after.dict`
//!
//! The first eight bytes of the input are the local clock in seconds. Each line after them is a header
//! value: the first is `Date`, and the first byte of the others selects their field.

#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use http::header::{DATE, HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tower_backpressure::RetryAfter;

const FIELDS: [&str; 12] = [
    "retry-after",
    "x-retry-after",
    "retry-after-ms",
    "grpc-retry-pushback-ms",
    "ratelimit",
    "x-ratelimit-reset",
    "x-should-retry",
    "age",
    "grpc-status-details-bin",
    "x-ratelimit-remaining",
    "x-ratelimit-reset-after",
    "x-rate-limit-reset-tokens",
];

fuzz_target!(|input: (u64, &[u8])| {
    let (clock, lines) = input;
    let mut headers = HeaderMap::new();
    let mut values = lines.split(|byte| *byte == b'\n');
    if let Some(Ok(date)) = values.next().map(HeaderValue::from_bytes) {
        headers.insert(DATE, date);
    }
    for line in values {
        let Some((&selector, value)) = line.split_first() else { continue };
        let field = FIELDS[usize::from(selector) % FIELDS.len()];
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(field), value);
        }
    }
    // A clock that no `SystemTime` can represent.
    let Some(now) = UNIX_EPOCH.checked_add(Duration::from_secs(clock)) else {
        return;
    };
    let fields = [RetryAfter::from_headers(&headers, now), RetryAfter::strict(&headers, now)];
    for field in fields.into_iter().flatten() {
        assert!(field.delay() <= RetryAfter::MAX);
        assert!(!field.is_capped() || field.delay() == RetryAfter::MAX);
    }
});
