//! What an attempt took of late.

use std::time::Duration;

use crate::sample::Sample;

/// Means over the last few dozen attempts. Zero: nothing was measured.
#[derive(Debug, Default)]
pub(crate) struct LatencyEstimate {
    /// What a place in flight is worth.
    pub(crate) latency: Duration,
    /// The part of it on a worker.
    pub(crate) busy: Duration,
    /// All but one in fifty attempts take less.
    pub(crate) long: Duration,
    /// Half of the answers take less.
    pub(crate) median: Duration,
}

/// Weight of a sample.
const GAIN: f64 = 1.0 / 32.0;
/// Share by which a longer attempt lengthens that: it follows a tenfold change in six answers. The
/// forty-nine shorter ones together take back as much.
const LONG_STEP: f64 = 1.0 / 2.0;
/// Share by which an answer moves the median: it follows a tenfold change of most answers in ten.
const MEDIAN_STEP: f64 = 1.0 / 4.0;
/// A single latency counts for no more than this: an hour is a stuck clock.
const LONGEST: Duration = Duration::from_secs(3_600);

impl LatencyEstimate {
    pub(crate) fn learn(&mut self, sample: &Sample) {
        if !sample.outcome.tells_latency() {
            return;
        }
        let gain = if self.latency.is_zero() { 1.0 } else { GAIN };
        self.latency = toward(self.latency, sample.latency, gain);
        self.busy = toward(self.busy, sample.busy, gain);
    }

    /// Learns from every attempt that ended, those included of which the place has counted apart.
    pub(crate) fn learn_long(&mut self, latency: Duration) {
        let step = match latency > self.long {
            _ if self.long.is_zero() => return self.long = latency.min(LONGEST),
            true => LONG_STEP,
            false => -LONG_STEP / 49.0,
        };
        self.long = self.long.mul_f64(1.0 + step).min(LONGEST);
    }

    /// Learns from every answer, those included of which the place has counted apart.
    pub(crate) fn learn_median(&mut self, latency: Duration) {
        let step = match latency > self.median {
            _ if self.median.is_zero() => return self.median = latency.min(LONGEST),
            true => MEDIAN_STEP,
            false => -MEDIAN_STEP,
        };
        self.median = self.median.mul_f64(1.0 + step).min(LONGEST);
    }
}

fn toward(mean: Duration, measured: Duration, gain: f64) -> Duration {
    let (mean, measured) = (mean.as_secs_f64(), measured.min(LONGEST).as_secs_f64());
    Duration::from_secs_f64(mean + gain * (measured - mean))
}
