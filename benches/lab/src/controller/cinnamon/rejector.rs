//! Cinnamon's rejector: a ratio from a proportional and an integral term, and the level that the ratio stands
//! for.
//!
//! The error is `(in − (out + free)) / out`: what entered the queue beyond what left it and what could have
//! left it. Gains are 0.1 and 1.4, over the levels of the last 1000 requests. The posts say neither how often
//! it is computed nor the unit of the integral: with 100 ms and seconds it settles at ten times the capacity as
//! well. Without a bound on the integral it would not recover.

use std::collections::VecDeque;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Rejector {
    entered: u32,
    left: u32,
    /// Integral of the error in seconds, bounded to what a ratio of 1 needs.
    integral: f64,
    /// Share of requests to reject.
    ratio: f64,
    /// The worst level that is admitted; `None`: every level.
    cut: Option<u32>,
    /// Levels of the last thousand requests, admitted or not.
    levels: VecDeque<u32>,
}

impl Rejector {
    pub(super) fn admits(&mut self, level: u32) -> bool {
        self.levels.push_back(level);
        if self.levels.len() > LEVELS {
            self.levels.pop_front();
        }
        self.cut.is_none_or(|cut| level <= cut)
    }

    pub(super) fn came_in(&mut self) {
        self.entered += 1;
    }

    pub(super) fn went_on(&mut self) {
        self.left += 1;
    }

    /// Ends an interval; `free` more requests could have been in flight.
    pub(super) fn calibrate(&mut self, free: usize) {
        let spare = f64::from(self.left) + free as f64;
        let error = (f64::from(self.entered) - spare) / f64::from(self.left.max(1));
        self.correct(error, INTERVAL.as_secs_f64());
        self.entered = 0;
        self.left = 0;
        self.cut = (self.ratio > 0.0).then(|| self.cut());
    }

    fn correct(&mut self, error: f64, seconds: f64) {
        self.integral = (self.integral + error * seconds).clamp(0.0, 1.0 / KI);
        self.ratio = (KP * error + KI * self.integral).clamp(0.0, 1.0);
    }

    fn cut(&self) -> u32 {
        let mut sorted: Vec<_> = self.levels.iter().copied().collect();
        sorted.sort_unstable();
        let admitted = ((1.0 - self.ratio) * sorted.len() as f64) as usize;
        admitted.checked_sub(1).map_or(0, |last| sorted[last])
    }
}

pub(super) const INTERVAL: Duration = Duration::from_millis(100);
const KP: f64 = 0.1;
const KI: f64 = 1.4;
const LEVELS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// failsafe-go at 2363cb8, pidlimiter.go: "If P(t)=0.5 […] adds 0.05", "If sum(P)=1.0 […] adds
    /// 1.4 to the rejection rate".
    #[test]
    fn the_published_gains_are_reproduced() {
        let mut rejector = Rejector::default();
        rejector.correct(0.5, 0.0);
        assert_eq!(rejector.ratio, 0.05);
        rejector.correct(0.5, 0.2);
        assert!((rejector.ratio - (0.05 + 1.4 * 0.1)).abs() < 1e-12);
    }

    #[test]
    fn a_ratio_is_the_level_that_this_share_of_the_last_thousand_is_beyond() {
        let mut rejector = Rejector { ratio: 0.25, ..Rejector::default() };
        for n in 0..2_000 {
            rejector.admits(n % 100);
        }
        assert_eq!((rejector.cut(), rejector.levels.len()), (74, LEVELS));
    }

    #[test]
    fn at_three_times_the_throughput_it_settles_at_two_thirds() {
        let mut rejector = Rejector::default();
        for _ in 0..200 {
            rejector.entered = (300.0 * (1.0 - rejector.ratio)) as u32;
            rejector.left = 100;
            rejector.calibrate(0);
        }
        assert!((rejector.ratio - 2.0 / 3.0).abs() < 0.02, "{}", rejector.ratio);
    }
}
