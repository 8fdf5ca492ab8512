//! Events of retries through `tracing`, at debug level.

use super::{GiveUpReason, Wait};

pub(super) fn retrying(policy: &str, resend_count: u32, wait: Wait) {
    let Wait { span, source } = wait;
    tracing::debug!(policy, http.request.resend_count = resend_count, wait = ?span, %source, "retrying");
}

pub(super) fn gave_up(policy: &str, attempts: u32, reason: GiveUpReason) {
    tracing::debug!(policy, attempts, %reason, "not retrying");
}
