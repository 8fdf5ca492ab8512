//! Without the feature `metrics`.

use std::borrow::Cow;

use super::{GiveUpReason, Wait};
use crate::client::budget::RetryBudget;

#[derive(Clone, Debug)]
pub(super) struct Metrics;

impl Metrics {
    pub(super) fn new(_policy: Cow<'static, str>) -> Self {
        Self
    }

    pub(super) const fn budget(&self, _budget: &RetryBudget) {}

    pub(super) const fn first_attempt(&self) {}

    pub(super) const fn waits(&self, _wait: Wait) {}

    pub(super) const fn retried(&self) {}

    pub(super) const fn gave_up(&self, _reason: GiveUpReason) {}
}
