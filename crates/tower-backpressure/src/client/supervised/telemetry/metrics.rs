//! Metrics through the `metrics` facade.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `backpressure_requests_total` | counter | `policy`, `result` = `admitted`, `shed` or `would_reject` (dry run), `reason` |
//! | `backpressure_held` | gauge | `policy` |
//! | `backpressure_transitions_total` | counter | `policy`, `reason`, `to` |

use std::fmt;
use std::sync::{Arc, OnceLock};

use backpressure_core::Reason;
use metrics::{Counter, Gauge, counter, gauge};

/// The handles of one policy. The first request makes them, so that a recorder that is installed after the
/// layer was built still sees everything.
#[derive(Clone)]
pub(super) struct Metrics {
    policy: Arc<str>,
    handles: Arc<OnceLock<Handles>>,
}

struct Handles {
    sent: Counter,
    held: Gauge,
}

impl Metrics {
    pub(super) fn new(policy: &Arc<str>) -> Self {
        Self { policy: Arc::clone(policy), handles: Arc::default() }
    }

    pub(super) fn sent(&self) {
        self.handles().sent.increment(1);
    }

    pub(super) fn held(&self, change: f64) {
        self.handles().held.increment(change);
    }

    pub(super) fn rejected(&self, reason: Reason) {
        self.requests("shed", reason.as_str()).increment(1);
    }

    pub(super) fn would_reject(&self, reason: Reason) {
        self.requests("would_reject", reason.as_str()).increment(1);
    }

    pub(super) fn changed(&self, reason: Reason, to: &'static str) {
        let policy = self.policy.to_string();
        counter!("backpressure_transitions_total", "policy" => policy, "reason" => reason.as_str(), "to" => to)
            .increment(1);
    }

    fn requests(&self, result: &'static str, reason: &'static str) -> Counter {
        let policy = self.policy.to_string();
        counter!("backpressure_requests_total", "policy" => policy, "result" => result, "reason" => reason)
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| Handles {
            sent: self.requests("admitted", ""),
            held: gauge!("backpressure_held", "policy" => self.policy.to_string()),
        })
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("policy", &self.policy).finish_non_exhaustive()
    }
}
