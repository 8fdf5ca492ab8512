//! Without the feature `metrics`.

use std::time::Duration;

use backpressure_gate::{Gate, Reason};

#[derive(Clone, Debug)]
pub(super) struct Metrics;

#[derive(Debug)]
pub(crate) struct Admitted;

pub(super) struct Queued;

impl Metrics {
    pub(super) const fn new(_policy: &str) -> Self {
        Self
    }

    pub(super) const fn runs(&self) -> Admitted {
        Admitted
    }

    pub(super) const fn admitted(&self) {}

    pub(super) const fn exempt(&self) {}

    pub(super) const fn would_reject(&self, _reason: Reason) {}

    pub(super) const fn shed(&self, _reason: Reason) {}

    pub(super) const fn queued(&self) -> Queued {
        Queued
    }

    pub(super) const fn waited(&self, _wait: Duration) {}

    pub(super) const fn look(&self, _gate: &Gate) {}
}
