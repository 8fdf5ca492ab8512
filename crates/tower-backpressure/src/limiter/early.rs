//! Decisions on requests that do not come to the limiter yet.

use backpressure_core::{Backlog, Shed};
use tokio::time::Instant;

use super::Limiter;
use super::acquire::Acquired;
use crate::request_info::RequestInfo;

impl Limiter {
    /// The rejection of a request that would be rejected if it arrived now, which counts as one; `None`: it would
    /// run or wait. One atomic read while a permit is free.
    pub(crate) fn reject_early(&self, info: RequestInfo, now: Instant) -> Option<Shed> {
        let shared = &self.shared;
        let in_time = info.deadline.is_none_or(|deadline| now < deadline);
        if in_time && self.has_open_permit() {
            return None;
        }
        let asked = info.on_scale(|at| shared.timestamp(at));
        let (in_flight, at) = (shared.counted_in_flight(), shared.timestamp(now));
        if !shared.inspect(|controller| controller.would_reject(&asked, in_flight, at)) {
            return None;
        }
        match self.start_acquire(info, now) {
            Acquired::Rejected(shed) => Some(shed),
            // A permit has become free in between.
            Acquired::Permit(mut permit) => {
                permit.skip_measurement();
                None
            }
            Acquired::Queued(_) => None,
        }
    }

    /// What there is to do; `None` while a permit is free that needs no decision.
    pub(crate) fn backlog(&self, now: Instant) -> Option<Backlog> {
        if self.has_open_permit() {
            return None;
        }
        let (in_flight, at) = (self.shared.counted_in_flight(), self.shared.timestamp(now));
        Some(self.shared.inspect(|controller| controller.backlog(in_flight, at)))
    }

    /// Rejects a request before it comes here, as it would find the queue full.
    pub(crate) fn reject_on_the_way(&self, info: RequestInfo, now: Instant) -> Shed {
        let (in_flight, at) = (self.shared.counted_in_flight(), self.shared.timestamp(now));
        let info = info.on_scale(|at| self.shared.timestamp(at));
        self.shared.change(at, |controller| controller.reject_early(&info, in_flight, at))
    }
}
