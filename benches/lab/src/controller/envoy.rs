//! Envoy's gradient controller of the adaptive concurrency filter, with its defaults.
//!
//! Source: envoyproxy/envoy at c35f67f, `adaptive_concurrency/controller/gradient_controller.cc`; the two
//! intervals without a default are those of its documentation (100 ms and 60 s). Medians are exact instead of a
//! histogram's. Left out: `fixed_value`, runtime overrides, and the later separate minimum for the limit. A
//! response counts whatever its status; a cancelled one does not.

use std::time::Duration;

use backpressure_core::{Sample, Timestamp};
use fastrand::Rng;

use crate::controller::limiter::{LimitAlgorithm, Limiter};
use crate::controller::sample_window::SampleWindow;
use crate::controller::{Controller, Site};

#[derive(Debug)]
struct Gradient {
    limit: u32,
    min: u32,
    /// Share of the smallest latency that is not yet queueing.
    buffer: f64,
    request_count: usize,
    /// The limit to return to, while the smallest latency is measured.
    deferred: Option<u32>,
    /// Samples of requests sent before it do not count.
    epoch: Timestamp,
    /// Microseconds.
    samples: SampleWindow,
    min_rtt: u64,
    at_minimum: u32,
    next_probe: Option<Timestamp>,
    next_sample: Option<Timestamp>,
    rng: Rng,
}

pub(super) fn make(site: &Site) -> Box<dyn Controller> {
    Limiter::of(Gradient::new(MIN_CONCURRENCY, REQUEST_COUNT, BUFFER, rng(site)))
}

/// A generator of its own for each replica, so that no two of a service draw alike.
fn rng(site: &Site) -> Rng {
    // 2^64 over the golden ratio spreads small numbers over all bits.
    let replica = u64::from(site.replica).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Rng::with_seed(Rng::with_seed(site.seed).u64(..) ^ replica)
}

impl Gradient {
    fn new(min: u32, request_count: usize, buffer: f64, rng: Rng) -> Self {
        let mut gradient = Self {
            limit: min,
            min,
            buffer,
            request_count,
            deferred: None,
            epoch: Timestamp::ZERO,
            samples: SampleWindow::default(),
            min_rtt: 0,
            at_minimum: 0,
            next_probe: None,
            next_sample: Some(Timestamp::ZERO + UPDATE_INTERVAL),
            rng,
        };
        gradient.probe(Timestamp::ZERO);
        gradient
    }

    /// Pins the limit to the minimum until enough requests have shown the smallest latency.
    fn probe(&mut self, now: Timestamp) {
        if self.deferred.is_none() {
            self.deferred = Some(self.limit);
            self.set(self.min, now);
            self.samples.clear();
            self.epoch = now;
        }
    }

    fn end_probe(&mut self, limit: u32, now: Timestamp) {
        self.min_rtt = self.median();
        self.set(limit, now);
        self.deferred = None;
        let range = (MIN_RTT_INTERVAL.as_millis() as f64 * JITTER).ceil() as u64;
        let jitter = Duration::from_millis(self.rng.u64(..range.max(1)));
        self.next_probe = Some(now + MIN_RTT_INTERVAL + jitter);
        self.next_sample = Some(now + UPDATE_INTERVAL);
    }

    fn median(&mut self) -> u64 {
        let median = self.samples.quantile(PERCENTILE).unwrap_or(0);
        self.samples.clear();
        median
    }

    fn resample(&mut self, now: Timestamp) {
        if self.samples.len() > 0 {
            let latency = self.median().max(1) as f64;
            let limit = self.wanted(latency);
            self.set(limit, now);
        }
        self.next_sample = Some(now + UPDATE_INTERVAL);
    }

    fn wanted(&self, latency: f64) -> u32 {
        let ideal = self.min_rtt as f64 * (1.0 + self.buffer);
        let limit = f64::from(self.limit) * (ideal / latency).clamp(0.5, 2.0);
        ((limit + limit.sqrt()) as u32).min(MAX_CONCURRENCY).max(self.min)
    }

    /// Five windows in a row at the minimum mean that the smallest latency is out of date.
    fn set(&mut self, limit: u32, now: Timestamp) {
        let stuck = self.deferred.is_none() && self.limit == self.min && limit == self.min;
        self.at_minimum = if stuck { self.at_minimum + 1 } else { 0 };
        self.limit = limit;
        if self.at_minimum >= STUCK {
            self.next_probe = Some(now);
        }
    }
}

impl LimitAlgorithm for Gradient {
    fn limit(&self) -> usize {
        self.limit as usize
    }

    fn completed(&mut self, sample: &Sample, _in_flight: usize, now: Timestamp) {
        if now.since(Timestamp::ZERO) < sample.latency || now - sample.latency < self.epoch {
            return;
        }
        self.samples.add(sample.latency.as_micros() as u64);
        if let Some(limit) = self.deferred.filter(|_| self.samples.len() >= self.request_count) {
            self.end_probe(limit, now);
        }
    }

    fn next_tick(&self) -> Option<Timestamp> {
        [self.next_probe, self.next_sample].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Timestamp) {
        if self.next_sample.is_some_and(|due| due <= now) {
            self.next_sample = None;
            if self.deferred.is_none() {
                self.resample(now);
            }
        }
        if self.next_probe.is_some_and(|due| due <= now) {
            self.next_probe = None;
            self.probe(now);
        }
    }
}

// The defaults of adaptive_concurrency.proto, and the intervals of its documentation.
const PERCENTILE: f64 = 0.5;
const MAX_CONCURRENCY: u32 = 1_000;
const MIN_CONCURRENCY: u32 = 3;
const REQUEST_COUNT: usize = 50;
const JITTER: f64 = 0.15;
const BUFFER: f64 = 0.25;
const STUCK: u32 = 5;
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);
const MIN_RTT_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{SITE, at, success};

    fn gradient(min: u32, request_count: usize, buffer: f64) -> Gradient {
        Gradient::new(min, request_count, buffer, rng(&SITE))
    }

    /// `count` responses of `millis` at `now`.
    fn sample(gradient: &mut Gradient, count: usize, millis: u64, now: u64) {
        for _ in 0..count {
            gradient.completed(&success(millis * 1_000, 1), 1, at(now));
        }
    }

    /// Makes every tick that is due by `now`.
    fn ring(gradient: &mut Gradient, now: u64) -> usize {
        while let Some(due) = gradient.next_tick().filter(|&due| due <= at(now)) {
            gradient.tick(due);
        }
        gradient.limit()
    }

    /// gradient_controller_test.cc, MinRTTLogicTest: 7 while it measures, over after 50 samples.
    #[test]
    fn the_published_minimum_measurement_is_reproduced() {
        let mut gradient = gradient(7, 50, BUFFER);
        assert!(gradient.admits(6) && !gradient.admits(7));
        sample(&mut gradient, 49, 13, 500);
        assert_eq!((gradient.limit(), gradient.deferred.is_some()), (7, true));
        sample(&mut gradient, 1, 13, 500);
        assert_eq!((gradient.min_rtt, gradient.deferred), (13_000, None));
    }

    /// The same file, CancelLatencySample (so it is named): the median of 1 to 5 ms is 3 ms.
    #[test]
    fn the_published_median_is_reproduced() {
        let mut gradient = gradient(3, 5, BUFFER);
        for millis in 1..=5 {
            sample(&mut gradient, 1, millis, 500);
        }
        assert_eq!(gradient.min_rtt, 3_000);
    }

    /// MinRTTReturnToPreviousLimit and NoSamplesTest: it grows on 4 ms over 5 ms, holds without
    /// samples, is pinned to 3 while it measures anew, and goes back to where it was.
    #[test]
    fn a_measurement_pins_the_limit_and_then_restores_it() {
        let mut gradient = gradient(3, 5, BUFFER);
        sample(&mut gradient, 6, 5, 500);
        let mut now = 500;
        let mut last = gradient.limit();
        for _ in 0..5 {
            sample(&mut gradient, 5, 4, now);
            now += 101;
            assert!(ring(&mut gradient, now) > last);
            last = gradient.limit();
        }
        assert_eq!(ring(&mut gradient, now + 500), last);
        assert_eq!(ring(&mut gradient, now + 70_000), 3);
        sample(&mut gradient, 5, 13, now + 70_100);
        assert_eq!((gradient.limit(), gradient.min_rtt), (last, 13_000));
    }

    /// MinRTTEpoch: requests sent before the measurement began say nothing.
    #[test]
    fn requests_sent_before_a_measurement_do_not_end_it() {
        let mut gradient = gradient(2, 25, 0.0);
        sample(&mut gradient, 26, 5, 500);
        ring(&mut gradient, 70_000);
        assert!(gradient.deferred.is_some());
        sample(&mut gradient, 100, 20_000, 70_001);
        assert!(gradient.deferred.is_some());
    }

    /// ConsecutiveMinConcurrencyReset: five windows at the minimum start a new measurement.
    #[test]
    fn five_windows_at_the_minimum_start_a_measurement() {
        let mut gradient = gradient(7, 5, 0.0);
        sample(&mut gradient, 5, 5, 500);
        for window in 0..8 {
            sample(&mut gradient, 5, 40, 550 + 100 * window);
            ring(&mut gradient, 605 + 100 * window);
        }
        assert_eq!(gradient.min_rtt, 40_000);
    }

    #[test]
    fn half_the_ideal_latency_doubles_it_and_ten_times_halves_it() {
        let mut gradient = gradient(3, 5, BUFFER);
        gradient.limit = 100;
        gradient.min_rtt = 8_000;
        assert_eq!(gradient.wanted(5_000.0), 214); // 200 + √200
        assert_eq!(gradient.wanted(10_000.0), 110); // 100 + √100
        assert_eq!(gradient.wanted(80_000.0), 57); // 50 + √50
    }
}
