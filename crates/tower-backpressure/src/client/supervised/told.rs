//! What a rejection says to all callers of its origin.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::headers::retry_after::RetryAfter;

/// For how long a response asks callers to stay away. `x-should-retry: false` is about the request.
pub(in crate::client) fn told_wait(headers: &HeaderMap) -> Option<Duration> {
    let told = RetryAfter::from_headers(headers, SystemTime::now())?;
    (!told.forbids_retry() && !told.delay().is_zero()).then(|| told.delay())
}
