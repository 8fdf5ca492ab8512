//! failsafe-go's adaptive limiter, with its defaults. Uber's Cinnamon has the same algorithm.
//!
//! Source: failsafe-go/failsafe-go at 06622f2, `adaptivelimiter/adaptivelimiter.go` (20 in 1..=200, p90 of 1 s
//! and 50 samples, median of 5, EMA of 5 and of 10, correlations over 50 windows, at most 5 × the in-flight).
//! The p90 is exact instead of a t-digest's. A dropped execution is no sample, as in the original. Left out:
//! queueing, which is off by default.

mod trend;

use std::time::Duration;

use backpressure_core::{Outcome, Sample, Timestamp};

use crate::controller::failsafe::trend::{Correlation, Ewma, Median};
use crate::controller::limiter::{LimitAlgorithm, Limiter};
use crate::controller::sample_window::SampleWindow;
use crate::controller::{Controller, Site};

/// Compares recent latency with the baseline, and correlates both with throughput.
#[derive(Debug)]
struct Adaptive {
    limit: f64,
    /// Nanoseconds.
    recent: SampleWindow,
    most_in_flight: usize,
    min_samples: usize,
    next_update: Timestamp,
    median: Median,
    smoothed: Ewma,
    baseline: Ewma,
    throughput: Correlation,
    latency: Correlation,
}

/// The secondary signals.
#[derive(Clone, Copy, Debug)]
struct Signals {
    full: bool,
    throughput: f64,
    throughput_varies: f64,
    latency: f64,
}

pub(super) fn make(_site: &Site) -> Box<dyn Controller> {
    Limiter::of(Adaptive::new(MIN_SAMPLES))
}

impl Adaptive {
    fn new(min_samples: usize) -> Self {
        Self {
            limit: INITIAL,
            recent: SampleWindow::default(),
            most_in_flight: 0,
            min_samples,
            next_update: Timestamp::ZERO,
            median: Median::default(),
            smoothed: Ewma::over(SMOOTHED),
            baseline: Ewma::over(BASELINE_AGE),
            throughput: Correlation::default(),
            latency: Correlation::default(),
        }
    }

    fn update_window(&mut self, full: bool, now: Timestamp) {
        let quantile = self.recent.quantile(QUANTILE).unwrap_or(1).max(1) as f64;
        let recent = self.smoothed.add(self.median.add(quantile));
        self.update(recent, full);
        let least = Duration::from_nanos(self.recent.least().unwrap_or(0));
        let window = (least * 2).max(SHORTEST_WINDOW).min(LONGEST_WINDOW);
        self.next_update = now + window;
        self.recent.clear();
        self.most_in_flight = 0;
    }

    fn update(&mut self, recent: f64, full: bool) {
        let in_flight = self.most_in_flight as f64;
        let gradient = self.baseline.add(recent) / recent;
        let queue = (self.limit * (1.0 - gradient)).ceil();
        let (throughput, throughput_varies) =
            self.throughput.add(in_flight, in_flight / (recent / 1e9));
        let (latency, _) = self.latency.add(in_flight, recent);
        let signals = Signals { full, throughput, throughput_varies, latency };
        let unit = f64::from((self.limit as u64).max(1).ilog10().max(1));
        let mut next = self.limit + direction(queue, unit, signals) * unit;
        if next > in_flight * MAX_LIMIT_FACTOR {
            next = self.limit - unit;
        }
        self.limit = next.clamp(MIN, MAX);
    }
}

/// −1, 1 or 0.
fn direction(queue: f64, unit: f64, signals: Signals) -> f64 {
    let Signals { full, throughput, throughput_varies, latency } = signals;
    let saturated =
        throughput < 0.0 || (latency > 0.5 && (throughput < 0.3 || throughput_varies < 0.2));
    if queue > BETA * unit || (full && saturated) {
        -1.0
    } else if queue < ALPHA * unit {
        1.0
    } else {
        0.0
    }
}

impl LimitAlgorithm for Adaptive {
    fn limit(&self) -> usize {
        self.limit as usize
    }

    fn completed(&mut self, sample: &Sample, in_flight: usize, now: Timestamp) {
        if sample.outcome == Outcome::Success {
            self.recent.add(sample.latency.as_nanos() as u64);
            self.most_in_flight = self.most_in_flight.max(sample.in_flight);
        }
        if now > self.next_update && self.recent.len() >= self.min_samples {
            self.update_window(in_flight >= self.limit(), now);
        }
    }
}

// The defaults of adaptivelimiter.NewBuilder.
const INITIAL: f64 = 20.0;
const MIN: f64 = 1.0;
const MAX: f64 = 200.0;
const MAX_LIMIT_FACTOR: f64 = 5.0;
const MIN_SAMPLES: usize = 50;
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
const LONGEST_WINDOW: Duration = Duration::from_secs(30);
const QUANTILE: f64 = 0.9;
const SMOOTHED: u32 = 5;
const BASELINE_AGE: u32 = 10;
const ALPHA: f64 = 3.0;
const BETA: f64 = 6.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{at, success};

    /// As createLimiter of adaptivelimiter_test.go: one sample a window, a baseline of 1 s. Windows are longer
    /// than 1 s here, so the samples are 10 s apart instead of two.
    fn limiter() -> Adaptive {
        let mut limiter = Adaptive::new(1);
        for _ in 0..10 {
            limiter.baseline.add(1e9);
        }
        limiter
    }

    fn record(limiter: &mut Adaptive, latencies_ms: &[u64], in_flight: usize) -> Vec<usize> {
        let step = |(n, ms): (usize, &u64)| {
            let now = at(10_000 * (n as u64 + 1));
            limiter.completed(&success(ms * 1_000, in_flight), 1, now);
            limiter.limit()
        };
        latencies_ms.iter().enumerate().map(step).collect()
    }

    /// TestAdaptiveLimiter_record: should increase limit, should decrease limit, should hold limit.
    #[test]
    fn the_published_steps_are_reproduced() {
        assert_eq!(record(&mut limiter(), &[1_000, 500], 5), [21, 22]);
        assert_eq!(record(&mut limiter(), &[2_000, 2_000], 10), [19, 18]);
        assert_eq!(record(&mut limiter(), &[1_300, 1_300], 10), [20, 20]);
    }

    /// The same test: should smooth and filter RTTs.
    #[test]
    fn the_published_filter_is_reproduced() {
        let mut limiter = limiter();
        record(&mut limiter, &[100, 300, 200, 200, 250], 10);
        assert_eq!(limiter.smoothed.value(), 2e8);
    }

    #[test]
    fn the_limit_stays_below_five_times_the_requests_in_flight() {
        assert_eq!(record(&mut limiter(), &[1_000, 1_000], 3), [19, 18]);
    }

    #[test]
    fn fewer_than_fifty_samples_or_less_than_a_second_change_nothing() {
        let mut limiter = Adaptive::new(MIN_SAMPLES);
        let mut limit = |now: u64, count: usize| {
            for _ in 0..count {
                limiter.completed(&success(10_000, 20), 1, at(now));
            }
            limiter.limit()
        };
        assert_eq!([limit(1, 49), limit(1, 1), limit(999, 100), limit(1_002, 1)], [20, 21, 21, 22]);
    }

    #[test]
    fn at_the_limit_a_throughput_that_does_not_follow_lowers_it() {
        let calm = Signals { full: true, throughput: 0.0, throughput_varies: 1.0, latency: 0.0 };
        assert_eq!(direction(0.0, 1.0, calm), 1.0);
        assert_eq!(direction(0.0, 1.0, Signals { throughput: -0.1, ..calm }), -1.0);
        let slower = Signals { latency: 0.6, ..calm };
        assert_eq!(direction(0.0, 1.0, slower), -1.0);
        assert_eq!(direction(0.0, 1.0, Signals { throughput: 0.4, ..slower }), 1.0);
        assert_eq!(direction(0.0, 1.0, Signals { full: false, ..slower }), 1.0);
    }
}
