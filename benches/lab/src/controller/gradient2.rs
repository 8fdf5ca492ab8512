//! Gradient2 of Netflix/concurrency-limits with its defaults: a step for each sample, and in windows of 1 s.
//!
//! Source: `Gradient2Limit.java` at f2528de and `WindowedLimit.java` with its average window. Two differences: a
//! latency of zero counts as 1 ns (the original divides by it), and the first sample opens a window (in the original
//! it closes a window of its own).
//!
//! Where it fails, as measured in this lab:
//! - It learns the overload. At 1.2× the capacity for 30 minutes the long-run latency follows the latency, the limit
//!   drifts up and 0.66 of the best possible goodput is left. One step for each sample of a service that always takes as
//!   long ends at the maximum.
//! - The queue term outruns the gradient in a modest overload, and the limit creeps up (pull request 134).
//! - A slow dependency is taken for overload: ten times slower leaves 0.014 of the goodput.
//! - It is slow: at best 0.8 more a window. In front of a pool of 200, 60 s yield 0.25 of the best possible goodput.
//! - A fast failure is a fast answer and raises the limit, and 20 is the default minimum.
//! - Windows with fewer than 10 samples are thrown away: below about 10 requests a second nothing is learned.

use std::time::Duration;

use backpressure_core::{Sample, Timestamp};

use crate::controller::limiter::{LimitAlgorithm, Limiter};
use crate::controller::{Controller, Site};

pub(super) fn per_sample(_site: &Site) -> Box<dyn Controller> {
    Limiter::of(Gradient2::new())
}

pub(super) fn windowed(_site: &Site) -> Box<dyn Controller> {
    Limiter::of(Windowed { inner: Gradient2::new(), open: Window::default(), ends: None })
}

/// Scales the limit by how much lower latency is in the long run, and adds room for a few waiting requests.
///
/// ```text
/// long  ← long + 2/(LONG_WINDOW + 1) · (latency − long)
/// g     = clamp(TOLERANCE · long/latency, 0.5, 1)
/// limit ← (1 − SMOOTHING) · limit + SMOOTHING · (g · limit + QUEUE)      only while half of it is in flight
/// ```
#[derive(Debug)]
struct Gradient2 {
    limit: f64,
    long: LongRun,
}

impl Gradient2 {
    fn new() -> Self {
        Self { limit: INITIAL, long: LongRun::over(LONG_WINDOW) }
    }

    /// `latency` in nanoseconds.
    fn observe(&mut self, latency: f64, in_flight: usize) {
        let short = latency.max(1.0);
        let long = self.long.add(short);
        if long / short > RECOVERED {
            self.long.mean *= FORGET;
        }
        if in_flight as f64 >= self.limit / 2.0 {
            let gradient = (TOLERANCE * long / short).clamp(0.5, 1.0);
            let wanted = self.limit * gradient + QUEUE;
            let next = self.limit * (1.0 - SMOOTHING) + wanted * SMOOTHING;
            self.limit = next.clamp(MIN_LIMIT, MAX_LIMIT);
        }
    }
}

impl LimitAlgorithm for Gradient2 {
    fn limit(&self) -> usize {
        self.limit as usize
    }

    fn completed(&mut self, sample: &Sample, _in_flight: usize, _now: Timestamp) {
        self.observe(sample.latency.as_nanos() as f64, sample.in_flight);
    }
}

/// Mean latency in the long run: the plain mean of the first samples, from then on an exponential one.
#[derive(Debug)]
struct LongRun {
    mean: f64,
    sum: f64,
    /// Samples in `sum`, at most [`WARM_UP`].
    summed: u32,
    /// Weight of a sample after those.
    weight: f64,
}

impl LongRun {
    fn over(samples: u32) -> Self {
        Self { mean: 0.0, sum: 0.0, summed: 0, weight: 2.0 / (f64::from(samples) + 1.0) }
    }

    fn add(&mut self, sample: f64) -> f64 {
        if self.summed < WARM_UP {
            self.summed += 1;
            self.sum += sample;
            self.mean = self.sum / f64::from(self.summed);
        } else {
            self.mean = self.mean * (1.0 - self.weight) + sample * self.weight;
        }
        self.mean
    }
}

/// Shows the limit one sample a window: mean latency and highest in flight.
#[derive(Debug)]
struct Windowed {
    inner: Gradient2,
    open: Window,
    /// The first sample after this moment ends the window; `None` before the first sample.
    ends: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Window {
    latency: Duration,
    in_flight: usize,
    samples: u32,
}

impl LimitAlgorithm for Windowed {
    fn limit(&self) -> usize {
        self.inner.limit()
    }

    fn completed(&mut self, sample: &Sample, _in_flight: usize, now: Timestamp) {
        if sample.latency < MIN_LATENCY {
            return;
        }
        self.open.latency += sample.latency;
        self.open.in_flight = self.open.in_flight.max(sample.in_flight);
        self.open.samples += 1;
        if now > *self.ends.get_or_insert(now + WINDOW) {
            self.ends = Some(now + WINDOW);
            let full = std::mem::take(&mut self.open);
            if full.samples >= MIN_SAMPLES {
                let mean = full.latency / full.samples;
                self.inner.observe(mean.as_nanos() as f64, full.in_flight);
            }
        }
    }
}

// The defaults of Gradient2Limit.Builder.
const INITIAL: f64 = 20.0;
const MIN_LIMIT: f64 = 20.0;
const MAX_LIMIT: f64 = 200.0;
const QUEUE: f64 = 4.0;
const TOLERANCE: f64 = 1.5;
const SMOOTHING: f64 = 0.2;
const LONG_WINDOW: u32 = 600;
/// Samples of plain mean before the exponential one, from the same file.
const WARM_UP: u32 = 10;
/// Long over short latency above which an overload has passed, from the same file.
const RECOVERED: f64 = 2.0;
/// Share of the long-run latency that is then left at each sample, from the same file.
const FORGET: f64 = 0.95;

// The defaults of WindowedLimit.Builder.
const WINDOW: Duration = Duration::from_secs(1);
const MIN_SAMPLES: u32 = 10;
const MIN_LATENCY: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{SITE, at, attempt, success};

    fn limits(mut controller: Box<dyn Controller>, every: u64, count: u64) -> Vec<f64> {
        let step = |n| {
            controller.arrive(attempt(n), at(n * every));
            controller.depart(attempt(n), &success(10_000, 20), at(n * every));
            controller.limit()
        };
        (0..count).map(step).collect()
    }

    #[track_caller]
    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-4, "{value} for {expected}");
    }

    /// README.md of the same repository: `L·g + queue`, smoothed by 0.2: four fifths of one a step.
    #[test]
    fn a_steady_latency_adds_a_fifth_of_the_published_queue_each_step() {
        assert_eq!(limits(per_sample(&SITE), 1, 5), [20.0, 21.0, 22.0, 23.0, 24.0]);
    }

    #[test]
    fn in_windows_it_steps_once_a_second() {
        let limits = limits(windowed(&SITE), 50, 61);
        assert_eq!((limits[20], limits[21], limits[60]), (20.0, 20.0, 21.0));
    }

    /// The original has no Gradient2LimitTest.java. These are the figures of its long run:
    /// ExpAvgMeasurementTest.java, testWarmup.
    #[test]
    fn the_published_figures_of_the_long_run_are_reproduced() {
        let mut long = LongRun::over(100);
        let means: Vec<_> = (10..20).map(|sample| long.add(f64::from(sample))).collect();
        let expected = [10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0, 13.5, 14.0, 14.5];
        assert_eq!(means, expected);
        // 14.5 · 99/101 + 100 · 2/101.
        assert_near(long.add(100.0), 16.1931);
    }

    #[test]
    fn a_slower_sample_lowers_it_by_the_gradient_and_by_half_at_most() {
        let mut limit = Gradient2 { limit: 100.0, ..Gradient2::new() };
        (0..WARM_UP).for_each(|_| limit.observe(10e6, 0));
        // long = 10 + 20 · 2/601 = 10.06656, g = 1.5 · long/30 = .503328:
        // .8 · 100 + .2 · (100 · g + 4) = 90.86656.
        limit.observe(30e6, 100);
        assert_near(limit.limit, 90.86656);
        // g is clamped to .5: .8 · 90.86656 + .2 · (45.43328 + 4) = 82.57990.
        limit.observe(300e6, 100);
        assert_near(limit.limit, 82.57990);
    }

    #[test]
    fn the_long_run_is_forgotten_faster_once_latency_is_back() {
        let mut limit = Gradient2::new();
        (0..WARM_UP).for_each(|_| limit.observe(100e6, 0));
        limit.observe(10e6, 0);
        // (100 − 90 · 2/601) · .95 ms.
        assert_near(limit.long.mean / 1e6, 94.71547);
    }
}
