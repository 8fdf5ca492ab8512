//! The bounds of a limit: what an operator asks for, and how far resources allow it.

use backpressure_core::Controller;
use backpressure_core::limit::MAX;

/// The bounds that were asked for, and the ceiling while a resource is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    min: usize,
    max: usize,
    ceiling: usize,
}

impl Bounds {
    /// Those that a controller has.
    pub(super) fn of(controller: &Controller) -> Self {
        let (min, max) = controller.limit_bounds();
        Self { min, max, ceiling: MAX }
    }

    /// `min` is clamped to 1..=1 000 000 and `max` to `min`..=1 000 000.
    pub(super) fn ask(&mut self, min: usize, max: usize) {
        self.min = min.clamp(1, MAX);
        self.max = max.clamp(self.min, MAX);
    }

    /// `None`: no resource is short.
    pub(super) fn set_ceiling(&mut self, ceiling: Option<usize>) {
        self.ceiling = ceiling.unwrap_or(MAX);
    }

    pub(super) const fn asked(self) -> (usize, usize) {
        (self.min, self.max)
    }

    /// The bounds that hold. What an operator asks for at least comes before the ceiling.
    pub(super) fn in_force(self) -> (usize, usize) {
        (self.min, self.max.min(self.ceiling).max(self.min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_lowers_the_maximum_down_to_the_minimum_and_leaves_what_was_asked_for() {
        let mut bounds = Bounds { min: 1, max: MAX, ceiling: MAX };
        bounds.ask(4, 100);
        for (ceiling, in_force) in
            [(None, (4, 100)), (Some(50), (4, 50)), (Some(2), (4, 4)), (Some(200), (4, 100))]
        {
            bounds.set_ceiling(ceiling);
            assert_eq!((bounds.in_force(), bounds.asked()), (in_force, (4, 100)), "{ceiling:?}");
        }
    }
}
