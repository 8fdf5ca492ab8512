//! How near a limiter is to rejecting requests.

use tokio::time::Instant;

use super::Limiter;

/// How near a limiter is to rejecting requests: 0 to 1.
///
/// | value | state |
/// |---|---|
/// | up to 0.5 | permits are free: half the share of them in use |
/// | above 0.5 | requests queue: the more of the queue is in use, the higher |
/// | 1 | requests are rejected, or would be |
///
/// A handler that can do with less reads it and degrades before any request is rejected: a smaller page, a
/// cached result, no recommendations.
///
/// ```
/// use tower_backpressure::{Limiter, QueueBounds};
///
/// let limiter = Limiter::fixed(4, QueueBounds::NONE);
/// let _permits: Vec<_> = (0..3).map(|_| limiter.try_acquire()).collect();
/// assert_eq!(limiter.pressure().value(), 0.375);
/// assert!(!limiter.pressure().is_queueing());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Pressure(f64);

impl Pressure {
    /// The pressure as a number from 0 to 1.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }

    /// Whether requests have to wait for a permit, or are rejected.
    #[must_use]
    pub const fn is_queueing(self) -> bool {
        self.0 > 0.5
    }
}

impl Limiter {
    /// How near this limiter is to rejecting requests.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let counted = self.shared.counted_in_flight();
        if let Some(open) = self.shared.counter.open_permits() {
            // The queue is empty, and permits that count apart have made room for as many others.
            let limit = open.saturating_sub(self.shared.silent()).max(1);
            return Pressure((counted as f64 / limit as f64).min(1.0) / 2.0);
        }
        let now = self.shared.timestamp(Instant::now());
        Pressure(self.shared.inspect(|controller| controller.pressure(counted, now)))
    }
}
