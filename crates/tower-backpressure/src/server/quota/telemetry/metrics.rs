//! Metrics through the `metrics` facade: see `docs/metrics.md`.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::observe::Shown;

/// The handles of one policy. The first request that needs one makes them.
#[derive(Clone)]
pub(super) struct Metrics {
    policy: Arc<str>,
    handles: Arc<OnceLock<Handles>>,
}

struct Handles {
    beyond_soft: Counter,
    evicted_full: Counter,
    evicted_early: Counter,
    failing: Mutex<Option<Failing>>,
}

/// Shows that the store of a policy fails, until dropped.
struct Failing {
    gauge: Gauge,
    shown: Shown,
}

const FAILING: &str = "backpressure_quota_store_failing";

impl Metrics {
    pub(super) fn new(policy: &Arc<str>) -> Self {
        Self { policy: Arc::clone(policy), handles: Arc::default() }
    }

    pub(super) fn beyond_soft(&self) {
        self.handles().beyond_soft.increment(1);
    }

    pub(super) fn evicted(&self, is_early: bool) {
        let handles = self.handles();
        let evicted = if is_early { &handles.evicted_early } else { &handles.evicted_full };
        evicted.increment(1);
    }

    /// While the store fails; a look-up of the name is no matter then.
    pub(super) fn fallback(&self, mode: &'static str) {
        self.handles();
        counter!("backpressure_quota_fallback_total", "policy" => self.policy.to_string(), "mode" => mode)
            .increment(1);
    }

    pub(super) fn exchanged(&self, result: &'static str, took: Duration) {
        self.handles();
        let policy = self.policy.to_string();
        histogram!("backpressure_quota_store_seconds", "policy" => policy, "result" => result)
            .record(took.as_secs_f64());
    }

    pub(super) fn store_is_failing(&self, is_failing: bool) {
        let failing = is_failing.then(|| Failing::new(&self.policy));
        *self.handles().failing.lock().unwrap_or_else(PoisonError::into_inner) = failing;
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| Handles::new(&self.policy))
    }
}

impl Handles {
    fn new(policy: &str) -> Self {
        describe_counter!(
            "backpressure_quota_soft_total",
            Unit::Count,
            "Requests beyond a soft quota, which run with a lower priority."
        );
        describe_counter!(
            "backpressure_quota_evictions_total",
            Unit::Count,
            "Keys that were forgotten to make room: with all their tokens (full), or forgiven what they had used (early)."
        );
        describe_counter!(
            "backpressure_quota_fallback_total",
            Unit::Count,
            "Requests that were decided while the store of a shared quota could not be asked."
        );
        describe_histogram!(
            "backpressure_quota_store_seconds",
            Unit::Seconds,
            "Time of an exchange with the store of a shared quota, by result: ok, error or timeout."
        );
        describe_gauge!(FAILING, "1 while the store of a shared quota does not answer.");
        let policy = policy.to_owned();
        let evicted = |kind: &'static str| counter!("backpressure_quota_evictions_total", "policy" => policy.clone(), "kind" => kind);
        Self {
            beyond_soft: counter!("backpressure_quota_soft_total", "policy" => policy.clone()),
            evicted_full: evicted("full"),
            evicted_early: evicted("early"),
            failing: Mutex::new(None),
        }
    }
}

impl Failing {
    fn new(policy: &str) -> Self {
        let gauge = gauge!(FAILING, "policy" => policy.to_owned());
        let shown = Shown::new(FAILING, policy);
        gauge.set(1.0);
        Self { gauge, shown }
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.shown.end(|| self.gauge.set(0.0));
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("policy", &self.policy).finish_non_exhaustive()
    }
}
