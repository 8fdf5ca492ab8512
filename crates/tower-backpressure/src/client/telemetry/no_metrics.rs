//! Without the feature `metrics`.

use std::borrow::Cow;
use std::time::Duration;

use super::{GiveUp, Source};

#[derive(Clone, Debug)]
pub(super) struct Metrics;

impl Metrics {
    pub(super) fn new(_policy: Cow<'static, str>) -> Self {
        Self
    }

    pub(super) const fn waits(&self, _wait: Duration, _source: Source) {}

    pub(super) const fn retried(&self) {}

    pub(super) const fn gave_up(&self, _reason: GiveUp) {}
}
