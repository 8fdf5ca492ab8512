//! What an operator can change while a controller runs. None of it panics, whatever the numbers are.

use std::time::Duration;

use crate::bounds::QueueBounds;
use crate::controller::Controller;
use crate::limit::Limit;
use crate::shed::{Reason, Shed};

impl Controller {
    /// Replaces the limit; what is in flight stays in flight.
    pub fn replace_limit(&mut self, limit: Box<dyn Limit>) {
        self.limit.replace(limit);
        self.reported_overload = false;
    }

    /// Keeps the limit in `min..=max` from now on, and every limit that replaces it. Never panics:
    /// each number is brought to the nearest that is allowed.
    pub fn bound_limit(&mut self, min: usize, max: usize) {
        self.limit.bound(min, max);
    }

    /// The bounds of the limit; 1 and 1 000 000 unless set.
    #[must_use]
    pub fn limit_bounds(&self) -> (usize, usize) {
        self.limit.bounds()
    }

    /// Starts the limit from this number; see [`Limit::start_at`].
    pub fn start_limit_at(&mut self, initial: usize) {
        self.limit.start_at(initial);
    }

    /// Replaces the bounds of the queue; [`next`](Self::next) rejects what is queued beyond shorter ones.
    pub fn bound_queue(&mut self, bounds: QueueBounds) {
        self.bounds = bounds;
    }

    /// Rejects all new requests from now on; those that are queued or in flight are served to their end.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// The rejection of a new request while the controller drains; `None`: it does not.
    ///
    /// It reserves nothing, as there will be no permit here, and does not tell how full this process is.
    pub(super) fn shed_if_draining(&self) -> Option<Shed> {
        let shed = Shed::new(Reason::Limit, DRAIN_RETRY_AFTER);
        self.draining.then_some(shed)
    }
}

/// When to come back to a service one process of which shuts down: at once, but for the time that a load
/// balancer takes to notice.
const DRAIN_RETRY_AFTER: Duration = Duration::from_secs(1);
