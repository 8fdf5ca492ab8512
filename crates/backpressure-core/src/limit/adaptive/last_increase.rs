//! A step up that the run queue asked for, and what became of it.

use std::ops::Range;

use super::window::Window;

/// Where a step up began.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastIncrease {
    in_flight: f64,
    /// Useful latency there, in seconds.
    useful: f64,
}

/// A step that multiplies what is in flight by less shows nothing.
const LEAST: f64 = 1.3;
/// Elasticity of a step that ended in a queue. Far more than that, and something else has happened.
const WAITED: Range<f64> = 0.5..1.5;

impl LastIncrease {
    pub(super) fn of(full: &Window) -> Self {
        Self { in_flight: full.mean_in_flight(), useful: full.mean_useful() }
    }

    pub(super) const fn from(&self) -> f64 {
        self.in_flight
    }

    /// Whether what came of it is more waiting, and not for a worker.
    pub(super) fn ended_in_a_queue(&self, full: &Window) -> bool {
        full.mean_in_flight() > LEAST * self.in_flight
            && WAITED.contains(&full.elasticity(self.in_flight, self.useful))
    }
}
