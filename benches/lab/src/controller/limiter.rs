//! A limiter without a queue: as many requests as the limit run, and the rest is rejected at once.
//!
//! Netflix's SimpleLimiter, Envoy's filter, failsafe-go's limiter and tower's `LoadShed` over any of them
//! work like this. Left out: waiting of any kind, and the race between threads that lets some of the originals
//! pass their limit by a few.

use std::fmt;

use backpressure_core::{Limit, Sample, Timestamp};

use crate::controller::{Answer, AttemptInfo, Controller, Next, Refusal};

/// Sets the limit.
pub(super) trait LimitAlgorithm: fmt::Debug {
    /// How many requests may be in flight.
    fn limit(&self) -> usize;

    /// Whether another request may start while `in_flight` are in flight.
    fn admits(&self, in_flight: usize) -> bool {
        in_flight < self.limit()
    }

    /// A request was admitted; `in_flight` includes it.
    fn admitted(&mut self, _in_flight: usize) {}

    /// A request that was not cancelled has ended; `in_flight` still includes it.
    fn completed(&mut self, sample: &Sample, in_flight: usize, now: Timestamp);

    /// When [`tick`](Self::tick) is to be called next; `None`: never.
    fn next_tick(&self) -> Option<Timestamp> {
        None
    }

    fn tick(&mut self, _now: Timestamp) {}
}

/// The limiter of one server.
#[derive(Debug)]
pub(super) struct Limiter<T> {
    algorithm: T,
    in_flight: usize,
    refusal: Refusal,
}

impl<T: LimitAlgorithm + 'static> Limiter<T> {
    pub(super) fn of(algorithm: T) -> Box<dyn Controller> {
        Self::telling(algorithm, Refusal::default())
    }

    /// The same with something to tell rejected clients.
    pub(super) fn telling(algorithm: T, refusal: Refusal) -> Box<dyn Controller> {
        Box::new(Self { algorithm, in_flight: 0, refusal })
    }
}

impl<T: LimitAlgorithm> Controller for Limiter<T> {
    fn arrive(&mut self, _attempt: AttemptInfo, _now: Timestamp) -> Answer {
        if !self.algorithm.admits(self.in_flight) {
            return Answer::Shed(self.refusal);
        }
        self.in_flight += 1;
        self.algorithm.admitted(self.in_flight);
        Answer::Run
    }

    fn depart(&mut self, _attempt: AttemptInfo, sample: &Sample, now: Timestamp) {
        if teaches(sample) {
            self.algorithm.completed(sample, self.in_flight, now);
        }
        self.in_flight -= 1;
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        None
    }

    fn abandon(&mut self, _attempt: AttemptInfo, _now: Timestamp) {}

    fn next_tick(&self) -> Option<Timestamp> {
        self.algorithm.next_tick()
    }

    fn tick(&mut self, now: Timestamp) {
        self.algorithm.tick(now);
    }

    fn limit(&self) -> f64 {
        self.algorithm.limit() as f64
    }

    fn queued(&self) -> usize {
        0
    }
}

/// Whether the sample measured anything. Every original ignores a cancelled attempt (`onIgnore`,
/// `cancelLatencySample`, `Drop`).
pub(super) fn teaches(sample: &Sample) -> bool {
    sample.weight > 0 && sample.outcome.tells_latency()
}

/// A limit of the core that is the published one to the bit.
#[derive(Debug)]
pub(super) struct Published<L>(pub(super) L);

impl<L: Limit> LimitAlgorithm for Published<L> {
    fn limit(&self) -> usize {
        self.0.limit()
    }

    fn completed(&mut self, sample: &Sample, _in_flight: usize, now: Timestamp) {
        self.0.observe(sample, now);
    }
}

#[cfg(test)]
mod tests {
    use backpressure_core::{Aimd, Fixed, Outcome};

    use super::*;
    use crate::controller::fixtures::{at, attempt, overload, success};

    #[test]
    fn as_many_as_the_limit_run_and_one_more_for_each_that_ends() {
        let mut limiter = Limiter::of(Published(Fixed::new(2)));
        let mut arrive = |id| limiter.arrive(attempt(id), at(0));
        let shed = Answer::Shed(Refusal::default());
        assert_eq!([arrive(1), arrive(2), arrive(3)], [Answer::Run, Answer::Run, shed]);
        limiter.depart(attempt(1), &success(1_000, 2), at(1));
        assert_eq!(limiter.arrive(attempt(4), at(1)), Answer::Run);
        assert_eq!((limiter.limit(), limiter.queued(), limiter.next(at(1))), (2.0, 0, None));
    }

    #[test]
    fn a_cancelled_attempt_frees_its_place_and_is_no_sample() {
        let mut limiter = Limiter::of(Published(Aimd::new().min(1).initial(10)));
        assert_eq!(limiter.arrive(attempt(1), at(0)), Answer::Run);
        let cancelled = overload(1_000, 10).outcome(Outcome::Cancelled);
        limiter.depart(attempt(1), &cancelled, at(1));
        assert_eq!(limiter.limit(), 10.0);
        assert_eq!(limiter.arrive(attempt(2), at(0)), Answer::Run);
        limiter.depart(attempt(2), &overload(1_000, 10), at(1));
        assert_eq!(limiter.limit(), 9.0);
    }
}
