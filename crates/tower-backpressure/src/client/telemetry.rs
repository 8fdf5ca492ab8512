//! What operators see of retries: metrics, and an event for each retry.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::budget::RetryBudget;
use crate::client::gave_up::GiveUpReason;

#[cfg_attr(not(feature = "metrics"), path = "telemetry/no_metrics.rs")]
mod metrics;
mod stats;
#[cfg_attr(not(feature = "tracing"), path = "telemetry/no_tracing.rs")]
mod tracing;

use self::stats::RetryStats;

/// Records the retries of one layer. Without the features `metrics` and `tracing` it does nothing.
#[derive(Clone, Debug)]
pub(crate) struct RetryTelemetry {
    policy: Cow<'static, str>,
    metrics: metrics::Metrics,
    stats: Arc<RetryStats>,
}

/// The wait before a retry, and what set its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) span: Duration,
    pub(crate) source: Source,
}

/// What set the length of a wait: the label `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    RetryAfter,
    Backoff,
}

impl RetryTelemetry {
    pub(crate) fn new(policy: Cow<'static, str>) -> Self {
        let metrics = metrics::Metrics::new(policy.clone());
        let stats = RetryStats::register(&policy);
        Self { policy, metrics, stats }
    }

    /// The registry shows this budget.
    pub(crate) fn show_budget(&self, budget: &RetryBudget) {
        self.stats.show_budget(budget);
    }

    pub(crate) fn policy(&self) -> &str {
        &self.policy
    }

    /// A first attempt was sent.
    pub(crate) fn first_attempt(&self) {
        self.metrics.first_attempt();
        self.stats.first_attempt();
    }

    /// A failure may have changed the balance.
    pub(crate) fn budget(&self, budget: &RetryBudget) {
        self.metrics.budget(budget);
    }

    /// A retry was granted and waits; `resend_count` is 1 for the first retry of a request.
    pub(crate) fn retrying(&self, resend_count: u32, wait: Wait) {
        self.metrics.waits(wait);
        self.stats.waits(wait.span);
        tracing::retrying(&self.policy, resend_count, wait);
    }

    /// A retry was sent.
    pub(crate) fn retried(&self) {
        self.metrics.retried();
        self.stats.retried();
    }

    /// A failure that could be retried was returned after `attempts` attempts.
    pub(crate) fn gave_up(&self, attempts: u32, reason: GiveUpReason) {
        self.metrics.gave_up(reason);
        self.stats.gave_up(reason);
        tracing::gave_up(&self.policy, attempts, reason);
    }
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::RetryAfter => "retry_after",
            Self::Backoff => "backoff",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
