//! Vegas of Netflix/concurrency-limits with its defaults (20 in 1..=1000, α 3, β 6, probe × 30).
//!
//! Source: `VegasLimit.java` at 7989055, without windows behind its `SimpleLimiter`, as its builders make it.
//! Smoothing is left out (its default is none); the jitter comes from the site's seed; a latency of zero, an error
//! there, is 1 ns.
//!
//! Where it fails, as measured in this lab unless an issue of Netflix/concurrency-limits is named:
//! - Wide distributions (issues 34 and 37): the smallest of hundreds of latencies is far below the mean, so honest work
//!   looks like a queue. With exponential service it refuses 38 % at half load, and 0.37 of the best possible goodput is
//!   left at twice the capacity.
//! - A slow dependency is taken for overload: ten times slower leaves 0.009 of the goodput.
//! - A probe under load learns the load: one sample becomes the no-load latency whatever the queue at that moment (165).
//! - A failure that is faster than the no-load latency becomes the no-load latency and lowers nothing.

use backpressure_core::{Outcome, Sample, Timestamp};
use fastrand::Rng;

use crate::controller::limiter::{LimitAlgorithm, Limiter};
use crate::controller::{Controller, Site, rng};

/// Keeps the estimated queue, `limit · (1 − no-load latency / latency)`, between two marks.
///
/// | case, the first that holds | limit becomes |
/// |---|---|
/// | a probe is due, or latency < no-load latency | the same, and the latency is the new no-load latency |
/// | overload | limit − u, with u = max(1, ⌊log₁₀ limit⌋) |
/// | less than half of the limit in flight | the same |
/// | queue ≤ u | limit + β · u |
/// | queue < α · u | limit + u |
/// | queue > β · u | limit − u |
///
/// A probe is due j · 30 · limit samples after the last one, j uniform in 0.5..1.0 and drawn anew for each.
#[derive(Debug)]
struct Vegas {
    limit: f64,
    max: f64,
    /// Nanoseconds; infinite before the first sample.
    no_load: f64,
    since_probe: u64,
    /// In 0.5..1.0.
    jitter: f64,
    rng: Rng,
}

pub(super) fn make(site: &Site) -> Box<dyn Controller> {
    Limiter::of(Vegas::new(INITIAL, MAX, rng::for_site(site)))
}

impl Vegas {
    fn new(initial: f64, max: f64, mut rng: Rng) -> Self {
        let jitter = draw(&mut rng);
        Self { limit: initial, max, no_load: f64::INFINITY, since_probe: 0, jitter, rng }
    }

    /// Digits of the limit less one, and at least 1.
    fn unit(&self) -> f64 {
        f64::from(self.limit().ilog10().max(1))
    }

    fn probe_is_due(&self) -> bool {
        self.jitter * PROBE_MULTIPLIER * self.limit <= self.since_probe as f64
    }

    fn step(&self, latency: f64, sample: &Sample) -> f64 {
        let unit = self.unit();
        let queue = (self.limit * (1.0 - self.no_load / latency)).ceil();
        if sample.outcome == Outcome::Overload {
            -unit
        } else if (sample.in_flight as f64) * 2.0 < self.limit {
            0.0
        } else if queue <= unit {
            BETA * unit
        } else if queue < ALPHA * unit {
            unit
        } else if queue > BETA * unit {
            -unit
        } else {
            0.0
        }
    }
}

impl LimitAlgorithm for Vegas {
    fn limit(&self) -> usize {
        self.limit as usize
    }

    fn completed(&mut self, sample: &Sample, _in_flight: usize, _now: Timestamp) {
        let latency = sample.latency.as_nanos().max(1) as f64;
        self.since_probe += 1;
        if self.probe_is_due() {
            self.jitter = draw(&mut self.rng);
            self.since_probe = 0;
            self.no_load = latency;
        } else if latency < self.no_load {
            self.no_load = latency;
        } else {
            self.limit = (self.limit + self.step(latency, sample)).clamp(1.0, self.max);
        }
    }
}

fn draw(rng: &mut Rng) -> f64 {
    0.5 + rng.f64() / 2.0
}

// The defaults of VegasLimit.Builder.
const INITIAL: f64 = 20.0;
const MAX: f64 = 1_000.0;
const ALPHA: f64 = 3.0;
const BETA: f64 = 6.0;
const PROBE_MULTIPLIER: f64 = 30.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{SITE, at, overload, success};

    fn vegas(initial: f64, max: f64) -> Vegas {
        Vegas::new(initial, max, rng::for_site(&SITE))
    }

    fn step(vegas: &mut Vegas, millis: u64, in_flight: usize) -> usize {
        vegas.completed(&success(millis * 1_000, in_flight), in_flight, at(0));
        vegas.limit()
    }

    /// VegasLimitTest.java: increaseLimit, decreaseLimit, noChangeIfWithinThresholds and
    /// largeLimitIncrease. Their α = 3 and β = 6 are the defaults at a limit of 10.
    #[test]
    fn the_published_figures_are_reproduced() {
        for (millis, in_flight, after) in [(10, 11, 16), (50, 11, 9), (14, 14, 10)] {
            let mut limit = vegas(10.0, 20.0);
            assert_eq!(step(&mut limit, 10, 10), 10);
            assert_eq!(step(&mut limit, millis, in_flight), after);
        }
        let mut limit = vegas(10_000.0, 20_000.0);
        assert_eq!(step(&mut limit, 10_000, 5_000), 10_000);
        assert_eq!(step(&mut limit, 10_000, 6_000), 10_024);
    }

    #[test]
    fn an_overload_lowers_it_unless_it_was_fast_enough_to_become_the_no_load_latency() {
        let mut limit = vegas(10.0, 20.0);
        step(&mut limit, 10, 10);
        limit.completed(&overload(10_000, 11), 11, at(0));
        assert_eq!(limit.limit(), 9);
        limit.completed(&overload(1_000, 11), 11, at(0));
        assert_eq!((limit.limit(), limit.no_load), (9, 1e6));
    }

    #[test]
    fn one_sample_under_load_becomes_the_no_load_latency_when_a_probe_is_due() {
        let mut limit = vegas(20.0, 1_000.0);
        step(&mut limit, 10, 1);
        for _ in 0..600 {
            step(&mut limit, 80, 1);
        }
        assert_eq!(limit.no_load, 8e7);
    }
}
