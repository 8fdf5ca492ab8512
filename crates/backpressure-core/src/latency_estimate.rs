//! Estimates of how long attempts take.

use std::time::Duration;

use crate::ewma::Ewma;
use crate::outcome::Outcome;
use crate::sample::Sample;

/// Mean, median and 98th percentile of the latency of recent attempts, and their mean time on a worker.
///
/// All of them are zero as long as nothing was measured.
#[derive(Debug)]
pub(crate) struct LatencyEstimate {
    /// In seconds, like `busy`; `None`: nothing was measured.
    latency: Option<Ewma>,
    busy: Option<Ewma>,
    percentile_98: Quantile,
    median: Quantile,
}

/// Time constant of the means. With fewer samples the scatter of a single mean (13 %) would move the
/// thresholds that are multiples of it; with more, a stall would be noticed later than by its queue.
const MEAN_SAMPLES: u32 = 32;
/// A single latency counts for no more than this: an hour is a stopped clock.
const MAX_LATENCY: Duration = Duration::from_secs(3_600);

impl LatencyEstimate {
    pub(crate) const fn new() -> Self {
        Self {
            latency: None,
            busy: None,
            // Follows a tenfold rise within six attempts.
            percentile_98: Quantile::new(49.0, 0.5),
            // Follows a tenfold change of most latencies within ten responses.
            median: Quantile::new(1.0, 0.25),
        }
    }

    /// Averages in an attempt that counts towards the limit.
    pub(crate) fn record_mean(&mut self, sample: &Sample) {
        if sample.outcome.tells_latency() {
            average_in(&mut self.latency, sample.latency);
            average_in(&mut self.busy, sample.busy);
        }
    }

    /// Moves the quantiles after any attempt, one that did not count towards the limit included.
    ///
    /// A cancelled attempt moves only the 98th percentile: it took at least this long. Other failures
    /// move neither, as theirs is the latency of no work.
    pub(crate) fn record_quantiles(&mut self, sample: &Sample) {
        let latency = sample.latency.min(MAX_LATENCY);
        if matches!(sample.outcome, Outcome::Success | Outcome::Cancelled) {
            self.percentile_98.add(latency);
        }
        if sample.outcome == Outcome::Success {
            self.median.add(latency);
        }
    }

    /// Mean latency.
    pub(crate) fn mean(&self) -> Duration {
        duration(self.latency.as_ref())
    }

    /// Mean of the part of the latency that is spent on a worker.
    pub(crate) fn busy(&self) -> Duration {
        duration(self.busy.as_ref())
    }

    /// All but one in fifty attempts take less.
    pub(crate) const fn percentile_98(&self) -> Duration {
        self.percentile_98.value
    }

    /// Half of the successful attempts take less.
    pub(crate) const fn median(&self) -> Duration {
        self.median.value
    }
}

/// Averages in a duration. The first one counts as if all before had been the same: a plain mean of the first
/// few follows each of them, and the thresholds with it (lab: 0.89 instead of 0.94 in
/// `slower-elsewhere-visible`).
fn average_in(mean: &mut Option<Ewma>, sample: Duration) {
    let secs = sample.min(MAX_LATENCY).as_secs_f64();
    match mean {
        Some(mean) => mean.add(secs),
        None => *mean = Some(Ewma::settled_at(secs, MEAN_SAMPLES)),
    }
}

fn duration(secs: Option<&Ewma>) -> Duration {
    secs.map_or(Duration::ZERO, |secs| Duration::from_secs_f64(secs.mean()))
}

/// Follows a quantile by multiplicative steps, without storing samples.
///
/// Each sample above the estimate raises it by the share `step`. The samples below lower it, `step`
/// altogether for as many as there are below the quantile for each one above.
#[derive(Debug)]
struct Quantile {
    value: Duration,
    below_per_above: f64,
    step: f64,
}

impl Quantile {
    const fn new(below_per_above: f64, step: f64) -> Self {
        Self { value: Duration::ZERO, below_per_above, step }
    }

    fn add(&mut self, sample: Duration) {
        let step = match sample > self.value {
            _ if self.value.is_zero() => return self.value = sample,
            true => self.step,
            false => -self.step / self.below_per_above,
        };
        self.value = self.value.mul_f64(1.0 + step).min(MAX_LATENCY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The estimates after 20 000 latencies spread evenly over 100 ms.
    fn after_an_even_spread() -> LatencyEstimate {
        let mut estimate = LatencyEstimate::new();
        for n in 0..20_000_u64 {
            let latency = Duration::from_micros(n * 61_803 % 100_000);
            estimate.record_quantiles(&Sample::new(latency, Outcome::Success));
        }
        estimate
    }

    #[test]
    fn the_quantiles_follow_the_distribution() {
        let estimate = after_an_even_spread();
        let (median, high) = (estimate.median().as_secs_f64(), estimate.percentile_98());
        assert!((0.025..0.1).contains(&median), "{median}");
        assert!(high > Duration::from_millis(85), "{high:?}");
    }

    #[test]
    fn a_cancelled_attempt_says_only_that_latency_is_at_least_this() {
        let mut estimate = LatencyEstimate::new();
        let sample = Sample::new(Duration::from_secs(1), Outcome::Cancelled);
        estimate.record_mean(&sample);
        estimate.record_quantiles(&sample);
        assert_eq!((estimate.mean(), estimate.median()), (Duration::ZERO, Duration::ZERO));
        assert_eq!(estimate.percentile_98(), Duration::from_secs(1));
    }
}
