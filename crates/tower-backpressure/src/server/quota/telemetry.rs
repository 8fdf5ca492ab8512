//! What operators see of quotas, besides what they see of every layer.

use std::sync::Arc;

use super::table::Eviction;

#[cfg_attr(not(feature = "metrics"), path = "telemetry/no_metrics.rs")]
mod metrics;

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
}
