//! Without the feature `metrics`.

use std::time::Duration;

use backpressure_core::Shed;

use crate::limiter::Limiter;

#[derive(Clone, Debug)]
pub(super) struct Metrics;

#[derive(Debug)]
pub(crate) struct InFlight;

#[derive(Debug)]
pub(crate) struct StreamCount;

#[derive(Debug)]
pub(super) struct QueueDepth;

impl Metrics {
    pub(super) const fn new(_policy: &str) -> Self {
        Self
    }

    pub(super) const fn in_flight(&self) -> InFlight {
        InFlight
    }

    pub(super) const fn stream(&self) -> StreamCount {
        StreamCount
    }

    pub(super) const fn admitted(&self, _limiter: Option<&Limiter>) {}

    pub(super) const fn exempt(&self) {}

    pub(super) const fn would_reject(&self, _shed: Shed, _limiter: Option<&Limiter>) {}

    pub(super) const fn shed(&self, _shed: Shed, _limiter: Option<&Limiter>) {}

    pub(super) const fn queued(&self) -> QueueDepth {
        QueueDepth
    }

    pub(super) const fn waited(&self, _wait: Duration, _was_admitted: bool) {}

    pub(super) const fn cancelled(&self, _wait: Duration) {}
}

impl InFlight {
    pub(crate) const fn answered(&mut self) {}

    pub(crate) const fn take(&mut self) -> Self {
        Self
    }

    pub(crate) const fn marks_removed(&self) {}
}
