//! What a controller says of itself.

use super::Controller;
use super::mode::Mode;
use super::queueing::LOWEST_RANK;
use crate::handler_window::Backlog;
use crate::limit::{Limit, Metering};
use crate::limit_change::LimitChange;
use crate::time::Timestamp;

impl Controller {
    /// How many may run at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.limit()
    }

    /// The last change of the limit, and its cause.
    #[must_use]
    pub fn last_change(&self) -> Option<LimitChange> {
        self.limit.last_change()
    }

    /// How many may be in flight without a decision: the limit while the queue is empty.
    ///
    /// 0 means that every request needs a decision. That is so under overload, where arrivals are counted;
    /// while a request may have to leave a free permit to a higher rank; and while not all requests are admitted.
    #[must_use]
    pub fn open(&self) -> usize {
        let decides_all = self.overload.is_overloaded()
            || self.priority_hold.is_active()
            || self.mode != Mode::Admitting
            || self.is_recalled;
        if self.queue.is_empty() && !decides_all { self.limit() } else { 0 }
    }

    /// How many are queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// What there is to do, with `in_flight` in flight.
    #[must_use]
    pub fn backlog(&self, in_flight: usize, now: Timestamp) -> Backlog {
        Backlog {
            limit: self.limit(),
            in_flight,
            room: self.queue_len_for(LOWEST_RANK),
            queued: self.queued(),
            is_overloaded: self.is_overloaded(now),
        }
    }

    /// Whether demand is above capacity.
    #[must_use]
    pub fn is_overloaded(&self, now: Timestamp) -> bool {
        self.overload.is_overloaded() && !self.overload.is_quiet(self.latency.mean(), now)
    }

    /// Whether rejections should be delayed, as of the last request that could not run at once: demand was more than some
    /// twenty times the capacity, as clients retry as soon as they are rejected. It is true for two seconds where very
    /// many arrived in one moment.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.flood.is_flood()
    }

    /// What has to be measured of an attempt.
    #[must_use]
    pub fn metering(&self) -> Metering {
        self.limit.metering()
    }

    /// Whether an admitted request should yield once before it runs; see [`Limit::yields`].
    #[must_use]
    pub fn yields(&self) -> bool {
        self.limit.yields()
    }
}
