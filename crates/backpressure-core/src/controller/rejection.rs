//! Refusals: why, and when to come back.

use std::time::Duration;

use super::Controller;
use crate::decision::Decision;
use crate::limit::Limit;
use crate::queue::Patience;
use crate::schedule::RetryAfterSchedule;
use crate::shed::{Reason, Shed};
use crate::time::Timestamp;

impl Controller {
    pub(super) fn give_up(&mut self, patience: Patience, now: Timestamp) -> Shed {
        if patience.then == Reason::QueueTimeout {
            self.overload.waited_in_vain(self.bounds.max_wait, self.latency.latency, now);
            self.tell(now);
        }
        self.shed(patience.then, now)
    }

    pub(super) fn refuse(&mut self, reason: Reason, now: Timestamp) -> Decision {
        Decision::Reject(self.shed(reason, now))
    }

    pub(super) fn shed(&mut self, reason: Reason, now: Timestamp) -> Shed {
        let retry_after = self.schedule.book(self.freed_per_second(now), self.queue.len(), now);
        Shed { reason, retry_after }
    }

    /// Turns away a request that had a place in a queue which is now shorter or full of higher
    /// classes: it would have been served in its turn, and may come back then.
    pub(super) fn cut(&mut self, reason: Reason, now: Timestamp) -> Shed {
        let turns = self.queue.len() + 1;
        let retry_after = RetryAfterSchedule::in_turn(self.freed_per_second(now), turns);
        Shed { reason, retry_after }
    }

    /// Places a second that come free, as far as is known.
    fn freed_per_second(&self, now: Timestamp) -> Option<f64> {
        self.releases.per_second(self.per_second(), self.limit(), now)
    }

    /// Refuses a request whose deadline has passed. Where there is room, another may come at once.
    pub(super) fn refuse_late(&mut self, in_flight: usize, now: Timestamp) -> Decision {
        if self.has_place(in_flight) {
            let retry_after = Duration::from_nanos(1);
            return Decision::Reject(Shed { reason: Reason::Deadline, retry_after });
        }
        self.refuse(Reason::Deadline, now)
    }

    /// What the service can do, as far as its answers tell.
    pub(super) fn per_second(&self) -> Option<f64> {
        self.throughput.per_second(self.limit.workers())
    }
}
