//! What an attempt took of late.

use std::time::Duration;

use crate::sample::Sample;

/// Means over the last few dozen attempts. Zero: nothing was measured.
#[derive(Debug, Default)]
pub(crate) struct Usual {
    /// What a place in flight is worth.
    pub(crate) latency: Duration,
    /// The part of it on a worker.
    pub(crate) busy: Duration,
    /// As many attempts take longer as take less. A few that take very long do not move it.
    pub(crate) median: Duration,
}

/// Weight of a sample.
const GAIN: f64 = 1.0 / 32.0;
/// Share by which an answer moves the median: it follows a tenfold change in some forty answers.
const MEDIAN_STEP: f64 = 1.0 / 16.0;
/// A single latency counts for no more than this: an hour is a stuck clock.
const LONGEST: Duration = Duration::from_secs(3_600);

impl Usual {
    pub(crate) fn learn(&mut self, sample: &Sample) {
        if !sample.outcome.tells_latency() {
            return;
        }
        let gain = if self.latency.is_zero() { 1.0 } else { GAIN };
        self.latency = toward(self.latency, sample.latency, gain);
        self.busy = toward(self.busy, sample.busy, gain);
    }

    /// Learns from every answer, those included of which the place has counted apart.
    pub(crate) fn learn_median(&mut self, latency: Duration) {
        if self.median.is_zero() {
            self.median = latency.min(LONGEST);
        } else if latency > self.median {
            self.median = self.median.mul_f64(1.0 + MEDIAN_STEP).min(LONGEST);
        } else {
            self.median = self.median.mul_f64(1.0 - MEDIAN_STEP);
        }
    }
}

fn toward(mean: Duration, measured: Duration, gain: f64) -> Duration {
    let (mean, measured) = (mean.as_secs_f64(), measured.min(LONGEST).as_secs_f64());
    Duration::from_secs_f64(mean + gain * (measured - mean))
}
