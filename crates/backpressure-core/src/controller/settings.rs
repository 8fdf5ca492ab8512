//! What an operator can change while a controller runs. None of it panics, whatever the numbers are.

use std::time::Duration;

use crate::bounds::QueueBounds;
use crate::controller::Controller;
use crate::limit::Limit;
use crate::shed::{Reason, Shed};

impl Controller {
    /// Puts another limit in the place of this one; what is in flight stays in flight.
    pub fn replace_limit(&mut self, limit: Box<dyn Limit>) {
        self.limit.replace(limit);
        self.told = false;
    }

    /// Keeps the limit in `min..=max` from now on, and every limit that replaces it. Never panics:
    /// numbers that are no bounds are brought to the nearest that are.
    pub fn bound_limit(&mut self, min: usize, max: usize) {
        self.limit.bound(min, max);
    }

    /// The bounds of the limit; 1 and 1 000 000 where none were chosen.
    #[must_use]
    pub fn limit_bounds(&self) -> (usize, usize) {
        self.limit.bounds()
    }

    /// Starts the limit from this number; see [`Limit::start_at`].
    pub fn start_limit_at(&mut self, initial: usize) {
        self.limit.start_at(initial);
    }

    /// Bounds the queue anew; [`next`](Self::next) turns away who waits beyond a shorter one.
    pub fn bound_queue(&mut self, bounds: QueueBounds) {
        self.bounds = bounds;
    }

    /// Admits no newcomer from now on; requests that wait or are in flight are served to their end.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// What a newcomer is told while the controller drains; `None`: it does not.
    ///
    /// It books no place: there will be none here. Nor does it say how full this process is.
    pub(super) fn sent_elsewhere(&self) -> Option<Shed> {
        let shed = Shed::new(Reason::Limit, DRAIN_RETRY_AFTER);
        self.draining.then_some(shed)
    }
}

/// When to come back to a service one process of which is shutting down: at once, but for the time
/// that a load balancer takes to notice.
const DRAIN_RETRY_AFTER: Duration = Duration::from_secs(1);
