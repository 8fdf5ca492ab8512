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
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

const REQUESTS: &str = "backpressure_requests_total";
const HELD: &str = "backpressure_held";
const TRANSITIONS: &str = "backpressure_transitions_total";

/// The handles of one policy. The first request makes them, so that a recorder that is installed after the
/// layer was built still sees everything.
#[derive(Clone)]
pub(super) struct Metrics {
    policy: Arc<str>,
    reason: Reason,
    handles: Arc<OnceLock<Handles>>,
}

struct Handles {
    sent: Counter,
    rejected: Counter,
    would_reject: Counter,
    held: Gauge,
}

impl Metrics {
    pub(super) fn new(policy: &Arc<str>, reason: Reason) -> Self {
        Self { policy: Arc::clone(policy), reason, handles: Arc::default() }
    }

    pub(super) fn sent(&self) {
        self.handles().sent.increment(1);
    }

    pub(super) fn held(&self, change: f64) {
        self.handles().held.increment(change);
    }

    pub(super) fn rejected(&self) {
        self.handles().rejected.increment(1);
    }

    pub(super) fn would_reject(&self) {
        self.handles().would_reject.increment(1);
    }

    pub(super) fn changed(&self, to: &'static str) {
        let (policy, reason) = (self.policy.to_string(), self.reason);
        counter!(TRANSITIONS, "policy" => policy, "reason" => reason.as_str(), "to" => to)
            .increment(1);
    }

    fn requests(&self, result: &'static str, reason: &'static str) -> Counter {
        let policy = self.policy.to_string();
        counter!(REQUESTS, "policy" => policy, "result" => result, "reason" => reason)
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| {
            describe();
            Handles {
                sent: self.requests("admitted", ""),
                rejected: self.requests("shed", self.reason.as_str()),
                would_reject: self.requests("would_reject", self.reason.as_str()),
                held: gauge!(HELD, "policy" => self.policy.to_string()),
            }
        })
    }
}

fn describe() {
    describe_counter!(REQUESTS, "Requests by result, and by the reason of those rejected.");
    describe_gauge!(HELD, "Requests that wait in a client during cool-downs.");
    describe_counter!(TRANSITIONS, "States that origins have entered, by the reason.");
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("policy", &self.policy).finish_non_exhaustive()
    }
}
