//! What counts as demand, and what the limit is told of it.

use std::time::Duration;

use super::Controller;
use super::queueing::LOWEST_RANK;
use crate::limit::Limit;
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::time::Timestamp;

impl Controller {
    /// A request runs or is queued.
    pub(super) fn count_admitted(&mut self, is_demand: bool, now: Timestamp) {
        if is_demand {
            self.overload.admitted(self.limit(), self.queue_len_for(LOWEST_RANK), now);
        }
    }

    /// A request finds the limit reached.
    pub(super) fn count_limit_reached(&mut self, is_demand: bool, now: Timestamp) {
        if is_demand {
            self.overload.limit_reached(self.latency.mean(), now);
        }
        self.note_limit_reached(now);
    }

    /// A request is rejected on arrival.
    pub(super) fn count_rejected(&mut self, is_demand: bool, now: Timestamp) {
        if is_demand {
            self.overload.rejected(now);
        }
    }

    /// Whether the caller of this attempt left before any response could come. Only the time of the workers counts.
    pub(super) fn left_early(&mut self, sample: &Sample, now: Timestamp) -> bool {
        let left = sample.outcome == Outcome::Cancelled;
        let is_early = left && self.early_leavers.left(sample, self.latency.mean());
        if is_early {
            self.limit.observe(&sample.per_unit().outcome(Outcome::Ignore), now);
        }
        is_early
    }

    /// Counts a request that starts as served where nothing is measured of its end.
    pub(super) fn record_start(&mut self, now: Timestamp) {
        if self.latency.mean().is_zero() {
            self.overload.served(1, Duration::ZERO, now);
        }
    }

    /// Tells the limit when overload has started or ended.
    pub(super) fn report_demand(&mut self, now: Timestamp) {
        let overloaded = self.overload.is_overloaded();
        if overloaded != self.reported_overload {
            self.reported_overload = overloaded;
            self.limit.demand(overloaded, now);
        }
    }
}
