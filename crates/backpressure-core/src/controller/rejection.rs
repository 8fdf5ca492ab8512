//! Rejections: why, and when to come back.

use std::time::Duration;

use super::Controller;
use crate::decision::Decision;
use crate::hold::Hold;
use crate::limit::Limit;
use crate::queue::QueueEntry;
use crate::request_info::RequestInfo;
use crate::schedule::{MAX_WAIT, RetryAfterSchedule};
use crate::shed::{Reason, Shed};
use crate::time::Timestamp;

/// Mean times between two releases for which a returning request waits, beside those for the requests ahead of it:
/// chance leaves none for longer once in e³ = 20 times.
const MAX_RELEASES_BEYOND_TURN: f64 = 3.0;

impl Controller {
    /// Rejects a request before it comes here, as it would find the queue full: see
    /// [`HandlerWindow`](crate::HandlerWindow). It counts as one that has arrived.
    ///
    /// ```
    /// use backpressure_core::{Controller, Fixed, QueueBounds, Reason, RequestInfo, Timestamp};
    ///
    /// let mut controller = Controller::new(Box::new(Fixed::new(1)), QueueBounds::default());
    /// let shed = controller.reject_early(&RequestInfo::default(), 1, Timestamp::ZERO);
    /// assert_eq!(shed.reason, Reason::QueueFull);
    /// ```
    pub fn reject_early(&mut self, info: &RequestInfo, in_flight: usize, now: Timestamp) -> Shed {
        self.end_overload_if_idle(in_flight, now);
        let hold = self.hold_for(info, now);
        self.record_arrival(self.rank_of(info), info, in_flight, now);
        let is_demand = self.early_leavers.counts(1);
        self.count_limit_reached(is_demand, now);
        self.rejects_before = true;
        self.count_rejected(is_demand, now);
        self.shed_of(hold, Reason::QueueFull, now)
    }

    pub(super) fn reject(&mut self, hold: Hold, reason: Reason, now: Timestamp) -> Decision {
        let is_late = reason == Reason::Deadline;
        Decision::Reject(match is_late {
            true => self.shed(reason, hold.units, now),
            false => self.shed_of(hold, reason, now),
        })
    }

    /// A rejection with a reserved moment to come back, when this many units are free again.
    pub(super) fn shed(&mut self, reason: Reason, units: u32, now: Timestamp) -> Shed {
        let rate = self.releases_per_second().map(|rate| rate / f64::from(units));
        let (queued, stuck) = (self.still_queued(now), self.stuck_for(now));
        Shed { reason, retry_after: self.schedule.reserve(rate, queued, stuck, now) }
    }

    /// Queued requests that will run before one that comes back. Where the oldest has been queued for too
    /// long, a whole burst is being rejected: none of it delays the return of another.
    fn still_queued(&self, now: Timestamp) -> usize {
        let oldest = self.queue.highest().and_then(|rank| {
            let (_, entry) = self.queue.oldest(rank, self.queue.any_flow(rank)?)?;
            Some(entry.expires_at)
        });
        if oldest.is_some_and(|expires_at| expires_at <= now) { 0 } else { self.queue.len() }
    }

    /// Rejects a queued request that may not be queued any longer.
    pub(super) fn shed_expired(&mut self, entry: QueueEntry, now: Timestamp) -> Shed {
        if entry.expiry_reason == Reason::QueueTimeout {
            self.overload.timed_out(self.bounds.max_wait, self.latency.mean(), now);
            self.report_demand(now);
            return self.shed_of(entry.hold, entry.expiry_reason, now);
        }
        self.shed(entry.expiry_reason, entry.hold.units, now)
    }

    /// Rejects a queued request because the operator shortened the queue. It may come back when
    /// it would have run.
    pub(super) fn shed_in_turn(&mut self, reason: Reason, now: Timestamp) -> Shed {
        let turn = RetryAfterSchedule::wait_for(self.requests_per_second(), self.queue.len() + 1);
        Shed { reason, retry_after: self.after_stall(turn, now) }
    }

    /// Rejects a request whose deadline has passed on arrival. While there is a free permit, another
    /// request may come at once.
    pub(super) fn reject_expired(
        &mut self,
        hold: Hold,
        in_flight: usize,
        now: Timestamp,
    ) -> Decision {
        if self.can_run(hold, in_flight) {
            let retry_after = Duration::from_nanos(1);
            return Decision::Reject(Shed { reason: Reason::Deadline, retry_after });
        }
        self.reject(hold, Reason::Deadline, now)
    }

    /// A request finds the limit reached.
    pub(super) fn note_limit_reached(&mut self, now: Timestamp) {
        self.flood.limit_reached(self.responses_per_second(), self.latency.busy(), now);
    }

    /// Requests that return their permits a second; `None`: unknown.
    pub(super) fn requests_per_second(&self) -> Option<f64> {
        self.releases_per_second().map(|rate| rate / self.cost.mean())
    }

    /// Units released a second, while they are; `None`: unknown.
    pub(super) fn releases_per_second(&self) -> Option<f64> {
        self.releases.measured(self.responses_per_second())
    }

    /// A time to come back, later by as long as permits are stuck.
    pub(super) fn after_stall(&self, wait: Duration, now: Timestamp) -> Duration {
        (wait + self.stuck_for(now)).min(MAX_WAIT)
    }

    /// How long until the next unit is released, beyond what is usual.
    fn stuck_for(&self, now: Timestamp) -> Duration {
        self.releases.stuck_for(self.limit(), self.responses_per_second(), now)
    }

    /// How long a request that comes back when it was told to may be queued, behind `ahead` others: until its turn,
    /// if that takes longer than others may wait.
    ///
    /// A permit was promised to it, and the moment was a guess: with few permits that are held for long, the next
    /// one is rarely free within a queue's usual time. Where permits are held for longer than ever before, it
    /// waits no longer for that, and never longer than it can be told to stay away.
    pub(super) fn max_wait_of_returning(&self, ahead: usize) -> Duration {
        let releases = self.cost.mean() * (ahead as f64 + MAX_RELEASES_BEYOND_TURN);
        let rate = self.releases_per_second();
        let turn = rate.and_then(|rate| Duration::try_from_secs_f64(releases / rate).ok());
        self.max_wait().max(turn.unwrap_or_default().min(MAX_WAIT))
    }

    /// Responses a second that the service can do, by their latency, in units; `None`: unknown.
    pub(super) fn responses_per_second(&self) -> Option<f64> {
        self.throughput.per_second(self.limit.workers())
    }
}
