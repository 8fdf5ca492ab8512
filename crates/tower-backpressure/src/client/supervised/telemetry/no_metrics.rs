//! Without the feature `metrics`.

use backpressure_core::Reason;

#[derive(Clone, Debug)]
pub(super) struct Metrics;

impl Metrics {
    pub(super) const fn new(_policy: &str, _reason: Reason) -> Self {
        Self
    }

    pub(super) const fn sent(&self) {}

    pub(super) const fn held(&self, _change: f64) {}

    pub(super) const fn rejected(&self) {}

    pub(super) const fn would_reject(&self) {}

    pub(super) const fn changed(&self, _to: &'static str) {}
}
