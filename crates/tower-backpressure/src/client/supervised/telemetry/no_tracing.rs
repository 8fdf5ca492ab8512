//! Without the feature `tracing`.

use backpressure_core::Reason;

pub(super) const fn changed(_policy: &str, _origin: &str, _reason: Reason, _to: &'static str) {}
