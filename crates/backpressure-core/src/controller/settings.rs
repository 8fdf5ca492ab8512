//! What an operator can change while a controller runs. None of it panics, whatever the numbers are.

use crate::bounds::QueueBounds;
use crate::controller::Controller;
use crate::limit::Limit;
use crate::priority::Priority;

impl Controller {
    /// Replaces the limit; what is in flight stays in flight.
    pub fn replace_limit(&mut self, limit: Box<dyn Limit>) {
        self.limit.replace(limit);
        self.throughput.forget_limit();
        self.releases.forget_limit();
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

    /// Reserves a share of the capacity for a priority, in per cent up to 100: under overload it gets that much
    /// of all admissions, whatever higher priorities demand.
    pub fn reserve_share(&mut self, priority: Priority, percent: usize) {
        self.shares.reserve(priority, percent);
    }

    /// Replaces the bounds of the queue; [`next`](Self::next) rejects what is queued beyond shorter ones.
    pub fn bound_queue(&mut self, bounds: QueueBounds) {
        self.bounds = bounds;
    }
}
