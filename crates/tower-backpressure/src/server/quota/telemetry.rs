//! What operators see of quotas, besides what they see of every layer.

use std::sync::Arc;
use std::time::Duration;

use super::table::Eviction;

#[cfg_attr(not(feature = "metrics"), path = "telemetry/no_metrics.rs")]
mod metrics;
#[cfg_attr(not(feature = "tracing"), path = "telemetry/no_tracing.rs")]
mod tracing;

/// Records what is particular to quotas. Without the feature `metrics` it does nothing.
#[derive(Clone, Debug)]
pub(super) struct QuotaTelemetry {
    metrics: metrics::Metrics,
}

impl QuotaTelemetry {
    pub(super) fn new(policy: &str) -> Self {
        Self { metrics: metrics::Metrics::new(&Arc::from(policy)) }
    }

    /// A request beyond a soft quota runs.
    pub(super) fn beyond_soft(&self) {
        self.metrics.beyond_soft();
    }

    /// A key was forgotten to make room for another.
    pub(super) fn evicted(&self, eviction: Eviction) {
        self.metrics.evicted(eviction == Eviction::Early);
    }

    /// A request was decided without the store, in this mode.
    pub(super) fn fallback(&self, mode: &'static str) {
        self.metrics.fallback(mode);
    }

    /// The store was asked: `ok`, `error` or `timeout`.
    pub(super) fn exchanged(&self, result: &'static str, took: Duration) {
        self.metrics.exchanged(result, took);
    }

    pub(super) fn store_fails(&self, policy: &str, error: &str, mode: &'static str) {
        self.metrics.store_is_failing(true);
        tracing::store_fails(policy, error, mode);
    }

    pub(super) fn store_is_back(&self, policy: &str) {
        self.metrics.store_is_failing(false);
        tracing::store_is_back(policy);
    }
}
