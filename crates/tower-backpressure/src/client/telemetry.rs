//! What operators see of retries: metrics, and an event for each retry.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

#[cfg_attr(not(feature = "metrics"), path = "telemetry/no_metrics.rs")]
mod metrics;
#[cfg_attr(not(feature = "tracing"), path = "telemetry/no_tracing.rs")]
mod tracing;

/// Records the retries of one layer. Without the features `metrics` and `tracing` it does nothing.
#[derive(Clone, Debug)]
pub(crate) struct RetryTelemetry {
    policy: Cow<'static, str>,
    metrics: metrics::Metrics,
}

/// What set the length of a wait: the label `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    RetryAfter,
    Backoff,
}

/// Why a failure that could be retried is returned: the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    Attempts,
    NotReplayable,
    RetryAfter,
    Deadline,
    Budget,
}

impl RetryTelemetry {
    pub(crate) fn new(policy: Cow<'static, str>) -> Self {
        let metrics = metrics::Metrics::new(policy.clone());
        Self { policy, metrics }
    }

    pub(crate) fn policy(&self) -> &str {
        &self.policy
    }

    /// A retry was granted and waits; `resend_count` is 1 for the first retry of a request.
    pub(crate) fn retrying(&self, resend_count: u32, wait: Duration, source: Source) {
        self.metrics.waits(wait, source);
        tracing::retrying(&self.policy, resend_count, wait, source);
    }

    /// A retry was sent.
    pub(crate) fn retried(&self) {
        self.metrics.retried();
    }

    /// A failure that could be retried was returned after `attempts` attempts.
    pub(crate) fn gave_up(&self, attempts: u32, reason: GiveUp) {
        self.metrics.gave_up(reason);
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

impl GiveUp {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::NotReplayable => "not_replayable",
            Self::RetryAfter => "retry_after",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
