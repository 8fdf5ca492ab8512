//! One event when the state of an origin changes; never one for each request.

use backpressure_core::Reason;

pub(super) fn changed(policy: &str, origin: &str, reason: Reason, to: &'static str) {
    tracing::info!(policy, origin, reason = reason.as_str(), to, "the state of an origin changed");
}
