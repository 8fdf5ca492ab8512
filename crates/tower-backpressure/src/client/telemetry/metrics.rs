//! Metrics of retries through the `metrics` facade.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `backpressure_attempts_total` | counter | `policy`, `kind` = `first` or `retry` |
//! | `backpressure_retries_total` | counter | `policy`, `outcome` = `retried`, or a reason to give up |
//! | `backpressure_retry_budget_balance` | gauge | `policy`; the tokens after the last first attempt or failure |
//! | `backpressure_retry_wait_seconds` | histogram | `policy`, `source` = `retry_after` or `backoff` |

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::stats::REASONS;
use super::{GiveUpReason, Source, Wait};
use crate::client::budget::RetryBudget;
use crate::observe::Shown;

const ATTEMPTS: &str = "backpressure_attempts_total";
const RETRIES: &str = "backpressure_retries_total";
const BUDGET: &str = "backpressure_retry_budget_balance";
const WAIT: &str = "backpressure_retry_wait_seconds";

/// The handles of one policy. The first attempt makes them, so that a recorder that is installed after the
/// layer was built still sees everything.
#[derive(Clone)]
pub(super) struct Metrics {
    policy: Cow<'static, str>,
    handles: Arc<OnceLock<Handles>>,
}

struct Handles {
    first_attempts: Counter,
    retry_attempts: Counter,
    retried: Counter,
    gave_up: [Counter; REASONS.len()],
    budget: Gauge,
    shown: Shown,
    wait_by_retry_after: Histogram,
    wait_by_backoff: Histogram,
}

impl Metrics {
    pub(super) fn new(policy: Cow<'static, str>) -> Self {
        Self { policy, handles: Arc::default() }
    }

    pub(super) fn first_attempt(&self) {
        self.handles().first_attempts.increment(1);
    }

    pub(super) fn waits(&self, wait: Wait) {
        let handles = self.handles();
        let histogram = match wait.source {
            Source::RetryAfter => &handles.wait_by_retry_after,
            Source::Backoff => &handles.wait_by_backoff,
        };
        histogram.record(wait.span.as_secs_f64());
    }

    pub(super) fn retried(&self) {
        self.handles().retry_attempts.increment(1);
        self.handles().retried.increment(1);
    }

    pub(super) fn gave_up(&self, reason: GiveUpReason) {
        self.handles().gave_up[reason as usize].increment(1);
    }

    pub(super) fn budget(&self, budget: &RetryBudget) {
        self.handles().budget.set(budget.balance());
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| Handles::new(&self.policy))
    }
}

impl Handles {
    fn new(policy: &str) -> Self {
        describe();
        let policy = policy.to_owned();
        let attempts =
            |kind: &'static str| counter!(ATTEMPTS, "policy" => policy.clone(), "kind" => kind);
        let retries = |outcome: &'static str| counter!(RETRIES, "policy" => policy.clone(), "outcome" => outcome);
        let waits = |source: Source| histogram!(WAIT, "policy" => policy.clone(), "source" => source.as_str());
        Self {
            first_attempts: attempts("first"),
            retry_attempts: attempts("retry"),
            retried: retries("retried"),
            gave_up: REASONS.map(|reason| retries(reason.as_str())),
            budget: gauge!(BUDGET, "policy" => policy.clone()),
            shown: Shown::new(BUDGET, &policy),
            wait_by_retry_after: waits(Source::RetryAfter),
            wait_by_backoff: waits(Source::Backoff),
        }
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.shown.end(|| self.budget.set(0.0));
    }
}

fn describe() {
    describe_counter!(ATTEMPTS, "Attempts that a retry layer sent: first ones, and retries.");
    describe_counter!(RETRIES, "Retries sent, and failures that were returned, by the reason.");
    describe_gauge!(BUDGET, "Tokens of the retry budget after the last first attempt or failure.");
    describe_histogram!(WAIT, Unit::Seconds, "Waits before retries, by what set their length.");
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("policy", &self.policy).finish_non_exhaustive()
    }
}
