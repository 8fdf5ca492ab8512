//! Events of retries through `tracing`, at debug level.

use std::time::Duration;

use super::{GiveUp, Source};

pub(super) fn retrying(policy: &str, resend_count: u32, wait: Duration, source: Source) {
    tracing::debug!(policy, http.request.resend_count = resend_count, ?wait, %source, "retrying");
}

pub(super) fn gave_up(policy: &str, attempts: u32, reason: GiveUp) {
    tracing::debug!(policy, attempts, %reason, "not retrying");
}
