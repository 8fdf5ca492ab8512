//! Refusals by a server, counted under one ceiling and compared under two.

use crate::outcome::Outcome;
use crate::sample::Sample;

/// Attempts that were answered or refused under one ceiling.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    pub(super) answered: f64,
    pub(super) refused: f64,
    /// Sum of the numbers in flight, and the highest.
    pub(super) in_flight: f64,
    pub(super) most: f64,
}

/// A comparison of two ceilings, which are in force by turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// The ceiling before, and the number in flight that it allowed.
    pub(super) ceiling: f64,
    pub(super) reached: f64,
    /// The lower ceiling.
    pub(super) lower: f64,
    pub(super) is_low: bool,
    pub(super) high: Window,
    pub(super) low: Window,
}

impl Window {
    pub(super) fn add(&mut self, sample: &Sample) {
        match sample.outcome {
            Outcome::Overload => self.refused += 1.0,
            _ => self.answered += 1.0,
        }
        self.in_flight += sample.in_flight as f64;
        self.most = self.most.max(sample.in_flight as f64);
    }

    pub(super) const fn count(&self) -> f64 {
        self.answered + self.refused
    }

    pub(super) fn odds(&self) -> f64 {
        (self.refused + 0.5) / (self.answered + 0.5)
    }

    /// Standard deviations by which more than this share was refused.
    pub(super) fn excess(&self, share: f64) -> f64 {
        let expected = share * self.count();
        (self.refused - expected) / (expected * (1.0 - share)).sqrt()
    }

    /// Both together.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            answered: self.answered + other.answered,
            refused: self.refused + other.refused,
            in_flight: self.in_flight + other.in_flight,
            most: self.most.max(other.most),
        }
    }

    fn mean_in_flight(&self) -> f64 {
        self.in_flight / self.count()
    }
}

impl Trial {
    pub(super) fn add(&mut self, window: &Window) {
        let side = if self.is_low { &mut self.low } else { &mut self.high };
        *side = side.and(window);
    }

    /// Standard deviations by which more was refused under the lower ceiling than load would explain.
    pub(super) fn unexplained(&self) -> f64 {
        let narrower = self.low.mean_in_flight() / self.high.mean_in_flight();
        let odds = self.high.odds() * narrower.min(1.0).sqrt();
        let known = self.high.count() / (self.high.count() + self.low.count());
        self.low.excess(odds / (1.0 + odds)) * known.sqrt()
    }
}
