//! A limit that stays between two bounds.

use crate::limit::MAX;

/// A limit before rounding, in attempts in flight, and the bounds that were set for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded {
    value: f64,
    min: usize,
    max: usize,
}

impl Bounded {
    pub(super) const fn new(start: usize, min: usize, max: usize) -> Self {
        Self { value: start as f64, min, max }
    }

    /// # Panics
    /// When `start` is not within the bounds.
    pub(super) fn start_at(&mut self, start: usize) {
        let Self { min, max, .. } = *self;
        assert!((min..=max).contains(&start), "initial must be in {min}..={max}");
        self.value = start as f64;
    }

    /// # Panics
    /// When `min` is 0 or above the other bound.
    pub(super) fn at_least(&mut self, min: usize) {
        let max = self.max;
        assert!((1..=max).contains(&min), "min must be in 1..={max}");
        self.min = min;
        self.set(self.value);
    }

    /// # Panics
    /// When `max` is below the other bound or above what a limit can be.
    pub(super) fn at_most(&mut self, max: usize) {
        let min = self.min;
        assert!((min..=MAX).contains(&max), "max must be in {min}..={MAX}");
        self.max = max;
        self.set(self.value);
    }

    pub(super) const fn value(&self) -> f64 {
        self.value
    }

    /// Takes the nearest value within the bounds.
    pub(super) fn set(&mut self, value: f64) {
        self.value = value.clamp(self.min as f64, self.max as f64);
    }

    /// Rounded down.
    pub(super) fn whole(&self) -> usize {
        (self.value as usize).clamp(self.min, self.max)
    }
}
