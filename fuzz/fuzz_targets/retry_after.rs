//! Fuzzes the parser of Retry-After: `cargo +nightly fuzz run retry_after -- -dict=fuzz/retry_after.dict`
//!
//! The first eight bytes of the input are the local clock in seconds. Each line after them is a header
//! value: the first is `Date`, and all others are `Retry-After`.

#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use http::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use libfuzzer_sys::fuzz_target;
use tower_backpressure::RetryAfter;

fuzz_target!(|input: (u64, &[u8])| {
    let (clock, lines) = input;
    let mut headers = HeaderMap::new();
    let mut values = lines.split(|byte| *byte == b'\n');
    if let Some(Ok(date)) = values.next().map(HeaderValue::from_bytes) {
        headers.insert(DATE, date);
    }
    for value in values.filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        headers.append(RETRY_AFTER, value);
    }
    // A clock that no `SystemTime` can represent.
    let Some(now) = UNIX_EPOCH.checked_add(Duration::from_secs(clock)) else {
        return;
    };
    if let Some(field) = RetryAfter::from_headers(&headers, now) {
        assert!(field.delay() <= RetryAfter::MAX);
        assert!(!field.is_capped() || field.delay() == RetryAfter::MAX);
    }
});
