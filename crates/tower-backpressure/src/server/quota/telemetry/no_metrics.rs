//! Without the feature `metrics`.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Metrics;

impl Metrics {
    pub(super) const fn new(_policy: &str) -> Self {
        Self
    }

    pub(super) const fn beyond_soft(&self) {}

    pub(super) const fn evicted(&self, _is_early: bool) {}

    pub(super) const fn fallback(&self, _mode: &'static str) {}

    pub(super) const fn exchanged(&self, _result: &'static str, _took: Duration) {}

    pub(super) const fn store_is_failing(&self, _is_failing: bool) {}
}
