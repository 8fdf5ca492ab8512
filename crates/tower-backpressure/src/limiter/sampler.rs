//! Which requests are measured: all of them, or one in k under very high rates.

use backpressure_core::Timestamp;

/// Chooses k so that the number of measurements a second stays bounded.
///
/// A measurement costs about 100 ns; at the bound that is less than 0.2 % of a core, and a limit
/// still learns from hundreds of attempts within 20 ms.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// One request in this many is measured; a power of two.
    every: u32,
    seen: u32,
    since: Timestamp,
}

/// Measurements between two updates of the interval.
const SAMPLES_PER_UPDATE: u32 = 256;
/// Above this rate the interval doubles.
const MAX_SAMPLES_PER_SECOND: f64 = 20_000.0;
/// Below this rate the interval halves; less than half of the maximum, so that it does not oscillate.
const MIN_SAMPLES_PER_SECOND: f64 = 8_000.0;
/// The longest interval.
const MAX_INTERVAL: u32 = 1_024;

impl Sampler {
    pub(crate) const fn new() -> Self {
        Self { every: 1, seen: 0, since: Timestamp::ZERO }
    }

    /// Counts a measurement; returns the new interval when it changed.
    pub(crate) fn measured(&mut self, now: Timestamp) -> Option<u32> {
        self.seen += 1;
        if self.seen < SAMPLES_PER_UPDATE {
            return None;
        }
        let rate = f64::from(SAMPLES_PER_UPDATE) / now.since(self.since).as_secs_f64().max(1e-9);
        (self.seen, self.since) = (0, now);
        let every = match rate {
            rate if rate > MAX_SAMPLES_PER_SECOND => (self.every * 2).min(MAX_INTERVAL),
            rate if rate < MIN_SAMPLES_PER_SECOND => (self.every / 2).max(1),
            _ => self.every,
        };
        let changed = every != self.every;
        self.every = every;
        changed.then_some(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The interval after `blocks` updates at `rate` requests a second.
    fn settle(sampler: &mut Sampler, rate: f64, blocks: u32) -> u32 {
        let mut now = sampler.since;
        for _ in 0..blocks * SAMPLES_PER_UPDATE {
            now = now + Duration::from_secs_f64(f64::from(sampler.every) / rate);
            sampler.measured(now);
        }
        sampler.every
    }

    #[test]
    fn every_request_is_measured_until_the_rate_is_very_high() {
        let mut sampler = Sampler::new();
        assert_eq!(settle(&mut sampler, 10_000.0, 20), 1);
        assert_eq!(settle(&mut sampler, 1_000_000.0, 20), 64);
        assert_eq!(settle(&mut sampler, 100.0, 20), 1);
    }

    #[test]
    fn the_interval_is_bounded() {
        let mut sampler = Sampler::new();
        assert_eq!(settle(&mut sampler, 1e12, 40), MAX_INTERVAL);
    }
}
