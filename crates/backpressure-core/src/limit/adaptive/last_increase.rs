//! The last increase that followed from the run queue, and whether it ended in a hidden queue.

use std::ops::Range;

use super::window::Window;

/// The state before the increase.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastIncrease {
    in_flight: f64,
    /// Useful latency before it, in seconds.
    useful: f64,
}

/// An increase of the requests in flight by a smaller factor shows nothing.
const LEAST: f64 = 1.3;
/// Elasticity of an increase that ended in a queue. A larger one has another cause.
const WAITED: Range<f64> = 0.5..1.5;

impl LastIncrease {
    pub(super) fn of(full: &Window) -> Self {
        Self { in_flight: full.mean_in_flight(), useful: full.mean_useful() }
    }

    pub(super) const fn from(&self) -> f64 {
        self.in_flight
    }

    /// Whether the increase only made attempts wait longer, and not for a worker.
    pub(super) fn ended_in_a_queue(&self, full: &Window) -> bool {
        full.mean_in_flight() > LEAST * self.in_flight
            && WAITED.contains(&full.elasticity(self.in_flight, self.useful))
    }
}
