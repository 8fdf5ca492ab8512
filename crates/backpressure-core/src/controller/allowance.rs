//! The units of a total that a controller may use, where several share one.

use std::time::Duration;

use super::Controller;
use crate::limit::MAX;
use crate::time::Timestamp;

/// How long a request may wait for units that are its compartment's own and lent to others, where the queue allows
/// less: as long as a request is queued by default.
const MIN_WAIT_FOR_OWN: Duration = Duration::from_secs(1);

/// One of several controllers that share a total.
///
/// Each has an allowance, which its limit is at most. Units move from one to another: the first gives units that are
/// free, then the other may use them. So all of them together never use more than there are.
impl Controller {
    /// Starts with an allowance of `guaranteed` units, which are its own: at least 1.
    pub fn allow(&mut self, guaranteed: usize) {
        self.guaranteed = guaranteed.clamp(1, MAX);
        self.limit.allowance = self.guaranteed;
    }

    /// The units that it may use.
    #[must_use]
    pub fn allowance(&self) -> usize {
        self.limit.allowance
    }

    /// The units that are its own.
    #[must_use]
    pub fn guaranteed(&self) -> usize {
        self.guaranteed
    }

    /// It may use this many more. What waits in its queue for units that were lent stays there.
    pub fn give(&mut self, units: usize) {
        self.kept = self.kept.max(self.queue.len().min(self.owed()));
        self.limit.allowance = self.limit.allowance.saturating_add(units).min(MAX);
    }

    /// Takes up to `units` that are free with `in_flight` in flight, and leaves at least `keep`, and at least 1;
    /// how many were taken.
    pub fn take_free(&mut self, units: usize, keep: usize, in_flight: usize) -> usize {
        let floor = keep.max(in_flight).max(1);
        let taken = units.min(self.limit.allowance.saturating_sub(floor));
        self.limit.allowance -= taken;
        taken
    }

    /// Whether units that are not its own are to be returned as soon as they are free. Meanwhile all requests need a
    /// decision, so that each release is seen.
    pub fn recall(&mut self, is_recalled: bool) {
        self.is_recalled = is_recalled;
    }

    /// Takes back what is to be returned and is free; how many units.
    pub fn take_recalled(&mut self, in_flight: usize) -> usize {
        match self.is_recalled {
            true => self.take_free(MAX, self.guaranteed, in_flight),
            false => 0,
        }
    }

    /// How many units more it would need to run all requests in its queue now, and one of this cost; 0 if its
    /// allowance is not what it lacks.
    pub fn lacks(&mut self, cost: Option<u32>, in_flight: usize, now: Timestamp) -> usize {
        // A limit below the allowance is the algorithm's or an operator's.
        if self.limit() < self.limit.allowance {
            return 0;
        }
        // Of those in the queue the next one may cost more than one unit each.
        let next = self.first_to_run(now).map_or(0, |(_, entry)| entry.hold.units());
        let queued = self.queue.len().max(next);
        let units = cost.map_or(0, |cost| (cost.max(1) as usize).min(MAX));
        (in_flight + queued + units).saturating_sub(self.limit.allowance)
    }

    /// Units of its own that others have.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.guaranteed.saturating_sub(self.limit.allowance)
    }

    /// How many requests may be queued: no request is rejected for units that are its own.
    pub(super) fn max_len(&self) -> usize {
        self.bounds.max_len.max(self.owed())
    }

    pub(super) fn max_wait(&self) -> Duration {
        match self.owed() {
            0 => self.bounds.max_wait,
            _ => self.bounds.max_wait.max(MIN_WAIT_FOR_OWN),
        }
    }
}
