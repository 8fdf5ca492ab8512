//! Vector's adaptive request concurrency (1 in 1..=200, × 0.9, EWMA 0.4, 2.5 σ).
//!
//! Source: vectordotdev/vector at 05b56b7, `src/sinks/util/adaptive_concurrency/controller.rs` and `stats.rs`.
//! In Vector it is in front of a sink and lets requests wait; here it is in front of a server and rejects them,
//! like the rest. Left out: `concurrency` as a constant.

use std::time::Duration;

use backpressure_core::{Outcome, Sample, Timestamp};

use crate::controller::limiter::{LimitAlgorithm, Limiter};
use crate::controller::{Controller, Site};

#[derive(Debug)]
struct Adaptive {
    limit: usize,
    past: Option<Past>,
    current: Mean,
    next_update: Timestamp,
    had_back_pressure: bool,
    reached_limit: bool,
}

/// Exponential mean and variance of the latency, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Past {
    mean: f64,
    variance: f64,
}

/// The plain mean of an interval.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    mean: f64,
    count: f64,
}

pub(super) fn make(_site: &Site) -> Box<dyn Controller> {
    Limiter::of(Adaptive::new())
}

impl Adaptive {
    fn new() -> Self {
        Self {
            limit: INITIAL,
            past: None,
            current: Mean::default(),
            next_update: Timestamp::ZERO,
            had_back_pressure: false,
            reached_limit: false,
        }
    }

    fn manage(&mut self, past: Past) {
        let latency = self.current.value();
        let threshold = past.mean + RTT_DEVIATION_SCALE * past.variance.sqrt();
        let good = self.limit < MAX && self.reached_limit && !self.had_back_pressure;
        if good && latency.is_some_and(|latency| latency <= past.mean) {
            self.limit += 1;
        } else if self.limit > 1 && (self.had_back_pressure || latency.unwrap_or(0.0) >= threshold)
        {
            self.limit = ((self.limit as f64 * DECREASE_RATIO) as usize).max(1);
        }
    }

    fn begin(&mut self, past: Option<Past>, now: Timestamp) {
        self.past = past;
        let interval = past.map_or(0.0, |past| past.mean);
        self.next_update = now + Duration::from_secs_f64(interval);
    }

    fn update(&mut self, past: Past, now: Timestamp) {
        self.manage(past);
        let next = self.current.value().map_or(past, |latency| past.add(latency, EWMA_ALPHA));
        self.begin(Some(next), now);
        self.current = Mean::default();
        self.had_back_pressure = false;
        self.reached_limit = false;
    }
}

impl Past {
    fn add(self, point: f64, alpha: f64) -> Self {
        let difference = point - self.mean;
        let increment = alpha * difference;
        Self {
            mean: self.mean + increment,
            variance: (1.0 - alpha) * difference.mul_add(increment, self.variance),
        }
    }
}

impl Mean {
    fn add(&mut self, point: f64) {
        self.count += 1.0;
        self.mean += (point - self.mean) / self.count;
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0.0).then_some(self.mean)
    }
}

impl LimitAlgorithm for Adaptive {
    fn limit(&self) -> usize {
        self.limit
    }

    fn admitted(&mut self, in_flight: usize) {
        self.reached_limit |= in_flight >= self.limit;
    }

    fn completed(&mut self, sample: &Sample, _in_flight: usize, now: Timestamp) {
        if sample.outcome == Outcome::Success {
            self.current.add(sample.latency.as_secs_f64());
        } else {
            self.had_back_pressure = true;
        }
        match self.past {
            Some(past) if now >= self.next_update => self.update(past, now),
            Some(_) => {}
            None => {
                let first = self.current.value().map(|mean| Past { mean, variance: 0.0 });
                self.begin(first, now);
            }
        }
    }
}

// The defaults of AdaptiveConcurrencySettings.
const INITIAL: usize = 1;
const MAX: usize = 200;
const DECREASE_RATIO: f64 = 0.9;
const EWMA_ALPHA: f64 = 0.4;
const RTT_DEVIATION_SCALE: f64 = 2.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{at, overload, success};

    /// stats.rs: ewma_variance_update_works (2, 2, 1, 2 at α = 0.5) and mean_update_works (0, 2, 4).
    #[test]
    fn the_published_figures_are_reproduced() {
        let mut past = Past { mean: 2.0, variance: 0.0 };
        for point in [2.0, 1.0] {
            past = past.add(point, 0.5);
        }
        assert_eq!(past, Past { mean: 1.5, variance: 0.25 });
        assert_eq!(past.add(2.0, 0.5), Past { mean: 1.75, variance: 0.1875 });
        let mut mean = Mean::default();
        assert_eq!(mean.value(), None);
        let means = [0.0, 2.0, 4.0].map(|point| {
            mean.add(point);
            mean.mean
        });
        assert_eq!(means, [0.0, 1.0, 2.0]);
    }

    /// A round trip of 10 ms at each whole ten milliseconds, with the limit reached.
    fn round_trip(arc: &mut Adaptive, millis: u64, sample: &Sample) -> usize {
        arc.admitted(arc.limit);
        arc.completed(sample, 1, at(millis));
        arc.limit
    }

    #[test]
    fn the_limit_grows_by_one_a_round_trip_and_falls_by_a_tenth_on_back_pressure() {
        let mut arc = Adaptive::new();
        let steady = success(8_000, 1);
        let steps: Vec<_> = (0..5).map(|n| round_trip(&mut arc, 8 * n, &steady)).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5]);
        arc.limit = 30;
        assert_eq!(round_trip(&mut arc, 40, &overload(8_000, 1)), 27);
    }

    #[test]
    fn within_a_round_trip_and_below_the_limit_nothing_changes() {
        let mut arc = Adaptive::new();
        round_trip(&mut arc, 0, &success(10_000, 1));
        assert_eq!(round_trip(&mut arc, 9, &success(10_000, 1)), 1);
        arc.reached_limit = false;
        arc.completed(&success(10_000, 1), 1, at(10));
        assert_eq!(arc.limit, 1);
    }
}
