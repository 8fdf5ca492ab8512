//! Estimates how many requests a second the service can finish.

use crate::ewma::Ewma;
use crate::limit::ran_at;
use crate::outcome::Outcome;
use crate::sample::Sample;

/// Estimates how many requests a second the service can finish, from the latency of its responses.
///
/// By Little's law `n` in flight that take `W` each are `n / W` a second. At the limit that is what the
/// service can do; below it, it is only what was offered. There the estimate is what the permits that were in
/// use of late would do at the present latency. In any case it is at most what the workers can compute.
#[derive(Debug)]
pub(crate) struct Throughput {
    /// `W / n` of requests that ran at the limit.
    secs_per_request_at_limit: Ewma,
    /// `W` over the number of permits that are taken to be usable, of all requests.
    secs_per_permit: Ewma,
    /// The most in flight, decaying while fewer are.
    most_in_flight: f64,
    busy_secs: Ewma,
}

/// Time constant of the means: a standard error of 3 %. With half as many samples the scatter rejects
/// requests that would have met their deadline (lab: 0.943 instead of 0.948 in `bursts-cpu`). With twice as
/// many, clients are told to come back as if a service that became slower were still fast (lab: 0.95
/// instead of 0.99 in `herd-whole-seconds`).
const SAMPLES: u32 = 512;
/// Number of permits taken to be usable though they were never in use together. With more, a limit
/// that nothing has tested promises many times what the service can do; with fewer, a service that
/// was idle so far tells the requests of its first burst to stay away for long.
const UNTESTED_PERMITS: f64 = 16.0;
/// A rate above this share of another one is equal to it, but for chance. Larger, and the scatter of a few
/// samples would count as a slower service (lab: 0.90 instead of 0.95 in `bursts-cpu` at 1); smaller, and a
/// service at half its former rate would be taken for the former one.
pub(crate) const SIMILAR_SHARE: f64 = 0.6;

impl Throughput {
    pub(crate) const fn new() -> Self {
        Self {
            secs_per_request_at_limit: Ewma::new(SAMPLES),
            secs_per_permit: Ewma::new(SAMPLES),
            most_in_flight: 0.0,
            busy_secs: Ewma::new(SAMPLES),
        }
    }

    /// Learns from an attempt that ended while this was the limit.
    pub(crate) fn record(&mut self, sample: &Sample, limit: usize) {
        if sample.outcome != Outcome::Success {
            return;
        }
        let (latency, in_flight) = (sample.latency.as_secs_f64(), sample.in_flight as f64);
        let forgotten = self.most_in_flight / f64::from(SAMPLES);
        self.most_in_flight = in_flight.max(self.most_in_flight - forgotten);
        let usable = self.most_in_flight.max(UNTESTED_PERMITS).min(limit as f64);
        self.secs_per_permit.add(latency / usable);
        self.busy_secs.add(sample.busy.as_secs_f64());
        if ran_at(sample, limit as f64) {
            self.secs_per_request_at_limit.add(latency / in_flight);
        }
    }

    /// Forgets what was measured at the limit: it is replaced.
    pub(crate) const fn forget_limit(&mut self) {
        self.secs_per_request_at_limit = Ewma::new(SAMPLES);
    }

    /// Requests a second on this number of workers; `None`: nothing was measured.
    pub(crate) fn per_second(&self, workers: Option<usize>) -> Option<f64> {
        let by_permits = rate(&self.secs_per_permit)?;
        // A service that became slower since it last ran at the limit does less than it did there.
        let at_limit = rate(&self.secs_per_request_at_limit)
            .filter(|at_limit| by_permits > SIMILAR_SHARE * at_limit);
        let by_workers = workers.zip(rate(&self.busy_secs)).map(|(n, each)| n as f64 * each);
        Some(at_limit.unwrap_or(by_permits).min(by_workers.unwrap_or(f64::INFINITY)))
    }
}

fn rate(secs: &Ewma) -> Option<f64> {
    (secs.mean() > 0.0).then(|| secs.mean().recip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// `count` attempts of `millis` each, with `in_flight` at once.
    fn run(throughput: &mut Throughput, count: u32, millis: u64, in_flight: usize, limit: usize) {
        let latency = Duration::from_millis(millis);
        let sample = Sample { in_flight, ..Sample::new(latency, Outcome::Success) };
        for _ in 0..count {
            throughput.record(&sample, limit);
        }
    }

    fn is_about(throughput: &Throughput, expected: f64) {
        let measured = throughput.per_second(None).expect("measured");
        assert!((measured / expected - 1.0).abs() < 0.01, "{measured} instead of {expected}");
    }

    #[test]
    fn without_a_measurement_the_throughput_is_unknown() {
        assert_eq!(Throughput::new().per_second(Some(1)), None);
    }

    #[test]
    fn below_the_limit_sixteen_permits_bound_the_throughput() {
        let mut throughput = Throughput::new();
        run(&mut throughput, 100, 10, 5, 20);
        is_about(&throughput, 1_600.0);
    }

    #[test]
    fn a_throughput_measured_at_the_limit_holds_below_it() {
        let mut throughput = Throughput::new();
        run(&mut throughput, 100, 20, 20, 20);
        run(&mut throughput, 1_000, 10, 5, 20);
        is_about(&throughput, 1_000.0);
    }

    #[test]
    fn a_service_that_became_slower_below_the_limit_is_known_to_do_less() {
        let mut throughput = Throughput::new();
        run(&mut throughput, 5_000, 10, 20, 20);
        run(&mut throughput, 2_000, 100, 5, 20);
        // Twenty permits were in use, and five of late.
        let measured = throughput.per_second(None).expect("measured");
        assert!((160.0..=200.0).contains(&measured), "{measured}");
    }

    #[test]
    fn workers_compute_no_more_than_they_can() {
        let mut throughput = Throughput::new();
        let latency = Duration::from_millis(10);
        let sample = Sample { busy: latency, ..Sample::new(latency, Outcome::Success) };
        throughput.record(&sample, 100);
        let measured = throughput.per_second(Some(4)).expect("measured");
        assert!((measured - 400.0).abs() < 1.0, "{measured}");
    }

    #[test]
    fn a_fast_failure_is_no_measurement() {
        let mut throughput = Throughput::new();
        run(&mut throughput, 100, 10, 5, 20);
        throughput.record(&Sample::new(Duration::ZERO, Outcome::Overload), 1);
        is_about(&throughput, 1_600.0);
    }
}
