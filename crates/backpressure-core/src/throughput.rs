//! What the service can do.

use crate::limit::ran_at;
use crate::outcome::Outcome;
use crate::sample::Sample;

/// Estimates how many requests a second the service can finish.
///
/// By Little's law `n` in flight that take `W` each are `n / W` a second. At the limit that is what
/// the service can do; below it, it is what was asked for. As long as the limit was not reached the
/// places that were in use, over the usual latency, are a roof, and so is what the workers can compute.
#[derive(Debug, Default)]
pub(crate) struct Throughput {
    /// Seconds a request, of those that ran at the limit: `W / n`.
    full: Steady,
    /// Seconds of latency for each place that may be used.
    place: Steady,
    /// The most in flight of late.
    most: f64,
    /// Seconds on a worker.
    busy: Steady,
}

/// So many places are taken to do as well as fewer, though they were never in use. A limit that nothing
/// has tested may be many times what the service can do.
const PROVEN: f64 = 16.0;
/// A rate is lower than another one if it is below this share of it. What lies between is chance.
pub(crate) const FAR_BELOW: f64 = 0.6;

impl Throughput {
    pub(crate) fn observe(&mut self, sample: &Sample, limit: usize) {
        if sample.outcome != Outcome::Success {
            return;
        }
        let (latency, in_flight) = (sample.latency.as_secs_f64(), sample.in_flight as f64);
        self.most = in_flight.max(self.most * (1.0 - 1.0 / f64::from(MANY)));
        self.place.add(latency / self.most.max(PROVEN).min(limit as f64));
        self.busy.add(sample.busy.as_secs_f64());
        if ran_at(sample, limit as f64) {
            self.full.add(latency / in_flight);
        }
    }

    /// Requests a second on so many workers; `None`: nothing has been measured.
    pub(crate) fn per_second(&self, workers: Option<usize>) -> Option<f64> {
        let roof = self.place.mean()?.recip();
        let computed = workers.zip(self.busy.mean());
        let computed = computed.map_or(f64::INFINITY, |(workers, busy)| workers as f64 / busy);
        let full = self.full.mean().map(f64::recip).filter(|full| roof > FAR_BELOW * full);
        Some(full.unwrap_or(roof).min(computed))
    }
}

/// A mean over many, until what comes is clearly something else.
#[derive(Debug, Default)]
struct Steady {
    mean: f64,
    lately: f64,
    count: u32,
}

/// How many `lately` and `mean` reach back.
const FEW: u32 = 256;
const MANY: u32 = 8_192;
/// `lately` is off by 4 % by chance where values scatter like waiting times.
const CLEARLY: f64 = 0.25;
/// What is clearly something else soon outweighs the little that is left of the past.
const LEFT: u32 = 8;

impl Steady {
    fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1).min(MANY);
        self.lately += (value - self.lately) / f64::from(self.count.min(FEW));
        self.mean += (value - self.mean) / f64::from(self.count);
        if (self.lately / self.mean).ln().abs() > CLEARLY {
            (self.mean, self.count) = (self.lately, LEFT);
        }
    }

    /// `None`: nothing was measured.
    fn mean(&self) -> Option<f64> {
        (self.mean > 0.0).then_some(self.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// So many attempts of so many milliseconds, with so many in flight.
    fn run(capacity: &mut Throughput, count: u32, millis: u64, in_flight: usize, limit: usize) {
        let latency = Duration::from_millis(millis);
        let sample = Sample { in_flight, ..Sample::new(latency, Outcome::Success) };
        for _ in 0..count {
            capacity.observe(&sample, limit);
        }
    }

    fn is_about(capacity: &Throughput, expected: f64) {
        let measured = capacity.per_second(None).expect("measured");
        assert!((measured / expected - 1.0).abs() < 0.01, "{measured} instead of {expected}");
    }

    #[test]
    fn nothing_measured_is_nothing_known() {
        assert_eq!(Throughput::default().per_second(Some(1)), None);
    }

    #[test]
    fn below_the_limit_sixteen_places_are_a_roof() {
        let mut capacity = Throughput::default();
        run(&mut capacity, 100, 10, 5, 20);
        is_about(&capacity, 1_600.0);
    }

    #[test]
    fn what_was_measured_at_the_limit_counts_when_it_is_calm_again() {
        let mut capacity = Throughput::default();
        run(&mut capacity, 100, 20, 20, 20);
        run(&mut capacity, 1_000, 10, 5, 20);
        is_about(&capacity, 1_000.0);
    }

    #[test]
    fn a_service_that_became_slower_is_not_taken_for_what_it_was() {
        let mut capacity = Throughput::default();
        run(&mut capacity, 5_000, 10, 20, 20);
        run(&mut capacity, 2_000, 100, 5, 20);
        // Twenty places were in use, and five of late.
        let measured = capacity.per_second(None).expect("measured");
        assert!((160.0..=200.0).contains(&measured), "{measured}");
    }

    #[test]
    fn workers_compute_no_more_than_they_can() {
        let mut capacity = Throughput::default();
        let latency = Duration::from_millis(10);
        let sample = Sample { busy: latency, ..Sample::new(latency, Outcome::Success) };
        capacity.observe(&sample, 100);
        let measured = capacity.per_second(Some(4)).expect("measured");
        assert!((measured - 400.0).abs() < 1.0, "{measured}");
    }

    #[test]
    fn a_failure_is_no_fast_service() {
        let mut capacity = Throughput::default();
        run(&mut capacity, 100, 10, 5, 20);
        capacity.observe(&Sample::new(Duration::ZERO, Outcome::Overload), 1);
        is_about(&capacity, 1_600.0);
    }
}
