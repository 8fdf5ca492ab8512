//! What retries tell an operator: counters with feature `metrics`, events with feature `tracing`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use self::counters::Counters;

/// The voice of one policy.
#[derive(Clone, Debug)]
pub(crate) struct RetryTelemetry {
    policy: Cow<'static, str>,
    counters: Counters,
}

/// On whose word a wait is as long as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    RetryAfter,
    Backoff,
}

/// Why a failure that could be retried is handed over.
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
        Self { policy, counters: Default::default() }
    }

    pub(crate) fn policy(&self) -> &str {
        &self.policy
    }

    /// A retry was granted, the `resend`th of its request.
    pub(crate) fn retrying(&self, resend: u32, wait: Duration, source: Source) {
        self.counters.retrying(&self.policy, wait, source);
        events::retrying(&self.policy, resend, wait, source);
    }

    /// A retry was sent.
    pub(crate) fn retried(&self) {
        self.counters.retried(&self.policy);
    }

    /// A failure that could have been retried was handed over after so many attempts.
    pub(crate) fn gave_up(&self, attempts: u32, reason: GiveUp) {
        self.counters.gave_up(&self.policy, reason);
        events::gave_up(&self.policy, attempts, reason);
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RetryAfter => "retry_after",
            Self::Backoff => "backoff",
        })
    }
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attempts => "attempts",
            Self::NotReplayable => "not_replayable",
            Self::RetryAfter => "retry_after",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        })
    }
}

#[cfg(feature = "metrics")]
mod counters {
    use std::sync::OnceLock;

    use metrics::{Counter, Histogram, counter, histogram};

    use super::{Duration, GiveUp, Source};

    /// In the order of declaration: a variant is the index of its own handle.
    const SOURCES: [Source; 2] = [Source::RetryAfter, Source::Backoff];
    const GIVE_UPS: [GiveUp; 5] = [
        GiveUp::Attempts,
        GiveUp::NotReplayable,
        GiveUp::RetryAfter,
        GiveUp::Deadline,
        GiveUp::Budget,
    ];

    /// Handles bind to the recorder that is there when they are made, so the first use makes them.
    #[derive(Clone, Debug, Default)]
    pub(super) struct Counters(OnceLock<Handles>);

    #[derive(Clone, Debug)]
    struct Handles {
        retried: Counter,
        gave_up: [Counter; GIVE_UPS.len()],
        waits: [Histogram; SOURCES.len()],
    }

    impl Counters {
        pub(super) fn retrying(&self, policy: &str, wait: Duration, source: Source) {
            self.handles(policy).waits[source as usize].record(wait);
        }

        pub(super) fn retried(&self, policy: &str) {
            self.handles(policy).retried.increment(1);
        }

        pub(super) fn gave_up(&self, policy: &str, reason: GiveUp) {
            self.handles(policy).gave_up[reason as usize].increment(1);
        }

        fn handles(&self, policy: &str) -> &Handles {
            self.0.get_or_init(|| Handles {
                retried: outcome(policy, "retried".to_owned()),
                gave_up: GIVE_UPS.map(|reason| outcome(policy, reason.to_string())),
                waits: SOURCES.map(|source| waits(policy, source)),
            })
        }
    }

    fn outcome(policy: &str, outcome: String) -> Counter {
        counter!("backpressure_retries_total", "policy" => policy.to_owned(), "outcome" => outcome)
    }

    fn waits(policy: &str, source: Source) -> Histogram {
        let policy = policy.to_owned();
        let source = source.to_string();
        histogram!("backpressure_retry_wait_seconds", "policy" => policy, "source" => source)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_variant_is_the_index_of_its_own_handle() {
            assert!(SOURCES.iter().enumerate().all(|(at, of)| *of as usize == at));
            assert!(GIVE_UPS.iter().enumerate().all(|(at, of)| *of as usize == at));
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod counters {
    use super::{Duration, GiveUp, Source};

    #[derive(Clone, Debug, Default)]
    pub(super) struct Counters;

    impl Counters {
        pub(super) fn retrying(&self, _policy: &str, _wait: Duration, _source: Source) {}

        pub(super) fn retried(&self, _policy: &str) {}

        pub(super) fn gave_up(&self, _policy: &str, _reason: GiveUp) {}
    }
}

#[cfg(feature = "tracing")]
mod events {
    use super::{Duration, GiveUp, Source};

    pub(super) fn retrying(policy: &str, resend: u32, wait: Duration, source: Source) {
        tracing::debug!(policy, http.request.resend_count = resend, ?wait, %source, "retrying");
    }

    pub(super) fn gave_up(policy: &str, attempts: u32, reason: GiveUp) {
        tracing::debug!(policy, attempts, %reason, "not retrying");
    }
}

#[cfg(not(feature = "tracing"))]
mod events {
    use super::{Duration, GiveUp, Source};

    pub(super) fn retrying(_policy: &str, _resend: u32, _wait: Duration, _source: Source) {}

    pub(super) fn gave_up(_policy: &str, _attempts: u32, _reason: GiveUp) {}
}
