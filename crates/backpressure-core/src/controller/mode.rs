//! What an operator has told the controller: to admit, to hold new requests back, or to reject them.

use std::time::Duration;

use super::Controller;
use super::queueing::LOWEST_RANK;
use crate::decision::{Decision, Dequeued};
use crate::hold::Hold;
use crate::rank::Level;
use crate::request_info::RequestInfo;
use crate::shed::{Reason, Shed};
use crate::time::Timestamp;

/// Whether requests are admitted, as an operator decides it.
///
/// ```
/// use backpressure_core::{Controller, Decision, Fixed, Mode, QueueBounds, RequestInfo, Timestamp};
///
/// let mut controller = Controller::new(Box::new(Fixed::new(4)), QueueBounds::default());
/// controller.set_mode(Mode::Draining);
/// let decision = controller.arrive(RequestInfo::default(), 0, Timestamp::ZERO);
/// assert!(matches!(decision, Decision::Reject(_)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Requests are admitted as far as the limit goes.
    #[default]
    Admitting,
    /// No request starts until the given time. Requests queue meanwhile.
    Paused(Timestamp),
    /// New requests are rejected. Those in the queue are served.
    Draining,
    /// New requests and those in the queue are rejected.
    Stopped,
}

/// How many requests a pause keeps in the queue, where the queue has less room: as many as the queue has by
/// default, at about 10 kB each.
const MIN_PAUSED_REQUESTS: usize = 1_024;
/// How long requests that a pause has kept may wait for a permit after it, where the queue allows less: what
/// the queue allows by default.
const MIN_WAIT_AFTER_PAUSE: Duration = Duration::from_secs(1);
/// When to come back to a service one process of which is stopped: at once, but for the time that a load
/// balancer takes to notice.
const STOPPED_RETRY_AFTER: Duration = Duration::from_secs(1);

impl Controller {
    /// Admits requests from now on, or not: see [`Mode`]. What is in flight stays in flight.
    pub fn set_mode(&mut self, mode: Mode) {
        // Requests that a pause kept in the queue stay there, however short the queue is otherwise.
        if matches!(self.mode, Mode::Paused(_)) {
            self.kept = self.queue.len();
        }
        self.mode = mode;
    }

    /// Whether requests are admitted.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How near the controller is to rejecting requests, with `in_flight` in flight: 0 to 1.
    ///
    /// Up to 0.5 permits are free, and it is half the share of them in use. Above, requests queue, and it
    /// grows with the share of the queue in use. At 1 requests are rejected.
    #[must_use]
    pub fn pressure(&self, in_flight: usize, now: Timestamp) -> f64 {
        if matches!(self.mode, Mode::Draining | Mode::Stopped) || self.is_overloaded(now) {
            return 1.0;
        }
        let used = (in_flight as f64 / self.limit() as f64).min(1.0);
        let room = self.queue_len_for(LOWEST_RANK);
        match (self.queue.len(), room) {
            (_, 0) if used >= 1.0 => 1.0,
            (0, _) => used / 2.0,
            (queued, room) => 0.5 + (queued as f64 / room.max(1) as f64).min(1.0) / 2.0,
        }
    }

    /// Ends a pause that is over.
    pub(super) fn check_pause(&mut self, now: Timestamp) {
        if matches!(self.mode, Mode::Paused(until) if until <= now) {
            self.set_mode(Mode::Admitting);
        }
    }

    /// Decides on a request while not all requests are admitted; `None`: they are.
    pub(super) fn decide_by_mode(
        &mut self,
        info: RequestInfo,
        hold: Hold,
        now: Timestamp,
    ) -> Option<Decision> {
        match self.mode {
            Mode::Admitting => None,
            Mode::Draining | Mode::Stopped => Some(Decision::Reject(stopped())),
            Mode::Paused(until) => Some(self.queue_until(info, hold, until, now)),
        }
    }

    /// Rejects a request that must not be queued, while not all requests are admitted.
    ///
    /// It reserves no time to come back, and does not tell how full this process is.
    pub(super) fn shed_by_mode(&self) -> Option<Shed> {
        (self.mode != Mode::Admitting).then(stopped)
    }

    /// What happens to the next request in the queue while not all requests are admitted; outer `None`: what
    /// happens at other times.
    pub(super) fn next_by_mode(&mut self, now: Timestamp) -> Option<Option<Dequeued>> {
        match self.mode {
            Mode::Admitting | Mode::Draining => None,
            Mode::Paused(_) => {
                let is_over_bound = self.queue.len() > self.max_paused();
                Some(is_over_bound.then(|| self.give_way(now)).flatten())
            }
            Mode::Stopped => {
                let lowest = self.queue.lowest()?;
                let (ticket, _) = self.first_to_give_way(lowest)?;
                self.take(ticket);
                Some(Some(Dequeued::Reject(ticket, stopped())))
            }
        }
    }

    /// Rejects the queued request that gives way first.
    fn give_way(&mut self, now: Timestamp) -> Option<Dequeued> {
        let (ticket, entry) = self.first_to_give_way(self.queue.lowest()?)?;
        self.take(ticket);
        Some(Dequeued::Reject(ticket, self.shed_of(entry.hold, Reason::Displaced, now)))
    }

    /// Requests that a pause keeps in the queue at most.
    fn max_paused(&self) -> usize {
        self.bounds.max_len.max(MIN_PAUSED_REQUESTS)
    }

    /// Requests that the queue may keep whatever its bounds say, as long as they were left there.
    pub(super) fn kept(&mut self) -> usize {
        self.kept = self.kept.min(self.queue.len());
        self.kept
    }

    /// Queues a request that arrives during a pause. It may be queued until the end of the pause, and for as
    /// long as at other times from then on. Where the queue is full, requests of lower ranks give way.
    fn queue_until(
        &mut self,
        info: RequestInfo,
        hold: Hold,
        until: Timestamp,
        now: Timestamp,
    ) -> Decision {
        let rank = self.rank_of(&info);
        if self.queue.ahead_of(rank.index()) >= self.max_paused() {
            return self.reject(hold, Reason::QueueFull, now);
        }
        let timeout = until + self.bounds.max_wait.max(MIN_WAIT_AFTER_PAUSE);
        let entry = self.queue_entry(info, hold, timeout, now);
        let position = self.position(&info, hold, rank, Level::HIGHEST);
        self.enqueue(position, entry, now)
    }
}

const fn stopped() -> Shed {
    Shed::new(Reason::Stopped, STOPPED_RETRY_AFTER)
}
