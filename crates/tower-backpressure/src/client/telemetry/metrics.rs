//! Metrics of retries through the `metrics` facade.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `backpressure_retries_total` | counter | `policy`, `outcome` = `retried`, `attempts`, `not_replayable`, `retry_after`, `deadline` or `budget` |
//! | `backpressure_retry_wait_seconds` | histogram | `policy`, `source` = `retry_after` or `backoff` |

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use super::{GiveUp, Source};

/// The handles of one policy. The first retry makes them, so that a recorder that is installed after the
/// layer was built still sees everything.
#[derive(Clone)]
pub(super) struct Metrics {
    policy: Cow<'static, str>,
    handles: Arc<OnceLock<Handles>>,
}

struct Handles {
    retried: Counter,
    attempts: Counter,
    not_replayable: Counter,
    retry_after: Counter,
    deadline: Counter,
    budget: Counter,
    wait_by_retry_after: Histogram,
    wait_by_backoff: Histogram,
}

impl Metrics {
    pub(super) fn new(policy: Cow<'static, str>) -> Self {
        Self { policy, handles: Arc::default() }
    }

    pub(super) fn waits(&self, wait: Duration, source: Source) {
        let handles = self.handles();
        let histogram = match source {
            Source::RetryAfter => &handles.wait_by_retry_after,
            Source::Backoff => &handles.wait_by_backoff,
        };
        histogram.record(wait.as_secs_f64());
    }

    pub(super) fn retried(&self) {
        self.handles().retried.increment(1);
    }

    pub(super) fn gave_up(&self, reason: GiveUp) {
        let handles = self.handles();
        let counter = match reason {
            GiveUp::Attempts => &handles.attempts,
            GiveUp::NotReplayable => &handles.not_replayable,
            GiveUp::RetryAfter => &handles.retry_after,
            GiveUp::Deadline => &handles.deadline,
            GiveUp::Budget => &handles.budget,
        };
        counter.increment(1);
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| Handles::new(&self.policy))
    }
}

impl Handles {
    fn new(policy: &str) -> Self {
        let policy = policy.to_owned();
        let retries = |outcome: &'static str| counter!("backpressure_retries_total", "policy" => policy.clone(), "outcome" => outcome);
        let waits = |source: Source| histogram!("backpressure_retry_wait_seconds", "policy" => policy.clone(), "source" => source.as_str());
        Self {
            retried: retries("retried"),
            attempts: retries(GiveUp::Attempts.as_str()),
            not_replayable: retries(GiveUp::NotReplayable.as_str()),
            retry_after: retries(GiveUp::RetryAfter.as_str()),
            deadline: retries(GiveUp::Deadline.as_str()),
            budget: retries(GiveUp::Budget.as_str()),
            wait_by_retry_after: waits(Source::RetryAfter),
            wait_by_backoff: waits(Source::Backoff),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("policy", &self.policy).finish_non_exhaustive()
    }
}
