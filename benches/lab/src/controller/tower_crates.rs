//! The algorithms of other crates for tower: their own code, driven by simulated samples.
//!
//! tower-acc 0.1 and tower-resilience-adaptive 0.14 time requests with `std::time::Instant`, but their
//! algorithms are given a latency: here the simulated one. Both wait in `poll_ready`; here they are under
//! tower's `LoadShed`, as axum needs them. Left out: little-loadshedder 0.2, whose algorithm reads
//! `std::time::Instant` itself; congestion-limiter 0.1, whose windows read tokio's clock and whose updates are
//! futures; throttle-net, which is no layer and whose algorithms are AIMD and Vegas too.

use std::fmt;

use backpressure_core::{Outcome, Sample, Timestamp};
use tower_acc::Algorithm;
use tower_resilience_adaptive::{ConcurrencyAlgorithm, Gradient2};

use crate::controller::limiter::{LimitAlgorithm, Limiter};
use crate::controller::{Controller, Site};

#[derive(Debug)]
struct Acc<A>(A);

struct Resilience<A>(A);

pub(super) fn acc_vegas(_site: &Site) -> Box<dyn Controller> {
    Limiter::of(Acc(tower_acc::Vegas::default()))
}

pub(super) fn acc_gradient2(_site: &Site) -> Box<dyn Controller> {
    Limiter::of(Acc(tower_acc::Gradient2::default()))
}

pub(super) fn resilience_vegas(_site: &Site) -> Box<dyn Controller> {
    let vegas = tower_resilience_adaptive::Vegas::builder().build();
    Limiter::of(Resilience(vegas.expect("its defaults are valid")))
}

pub(super) fn resilience_gradient2(_site: &Site) -> Box<dyn Controller> {
    let gradient2 = Gradient2::builder().build();
    Limiter::of(Resilience(gradient2.expect("its defaults are valid")))
}

pub(super) fn resilience_aimd(_site: &Site) -> Box<dyn Controller> {
    let aimd = tower_resilience_adaptive::Aimd::builder().build();
    Limiter::of(Resilience(aimd.expect("its defaults are valid")))
}

impl<A: Algorithm + fmt::Debug> LimitAlgorithm for Acc<A> {
    fn limit(&self) -> usize {
        self.0.max_concurrency()
    }

    /// It is given the requests in flight at the end of a request, not at its start.
    fn completed(&mut self, sample: &Sample, in_flight: usize, _now: Timestamp) {
        let failed = sample.outcome == Outcome::Overload;
        self.0.update(sample.latency, in_flight, failed, false);
    }
}

impl<A: ConcurrencyAlgorithm> fmt::Debug for Resilience<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resilience").field(&self.0.limit()).finish()
    }
}

impl<A: ConcurrencyAlgorithm> LimitAlgorithm for Resilience<A> {
    fn limit(&self) -> usize {
        self.0.limit()
    }

    fn completed(&mut self, sample: &Sample, in_flight: usize, _now: Timestamp) {
        if sample.outcome == Outcome::Overload {
            self.0.record_failure();
        } else {
            self.0.record_success_with_load(sample.latency, in_flight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{SITE, at, attempt, overload, success};

    /// Their documented starts and steps: 20 and + 6 log L; 20; 10; 20; 10 and halved by a failure.
    #[test]
    fn they_start_as_documented_and_take_their_first_steps() {
        let starts = [acc_vegas, acc_gradient2, resilience_vegas, resilience_gradient2]
            .map(|make| make(&SITE).limit());
        assert_eq!(starts, [20.0, 20.0, 10.0, 20.0]);
        let mut vegas = acc_vegas(&SITE);
        for id in 0..20 {
            vegas.arrive(attempt(id), at(0));
        }
        vegas.depart(attempt(0), &success(10_000, 20), at(10));
        vegas.depart(attempt(1), &success(10_000, 20), at(10));
        assert_eq!(vegas.limit(), 26.0);
        let mut aimd = resilience_aimd(&SITE);
        aimd.arrive(attempt(0), at(0));
        aimd.depart(attempt(0), &overload(1_000, 1), at(1));
        assert_eq!(aimd.limit(), 5.0);
    }
}
