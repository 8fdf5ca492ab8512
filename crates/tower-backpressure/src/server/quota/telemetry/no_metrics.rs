//! Without the feature `metrics`.

#[derive(Clone, Debug)]
pub(super) struct Metrics;

impl Metrics {
    pub(super) const fn new(_policy: &str) -> Self {
        Self
    }

    pub(super) const fn beyond_soft(&self) {}

    pub(super) const fn evicted(&self, _is_early: bool) {}
}
