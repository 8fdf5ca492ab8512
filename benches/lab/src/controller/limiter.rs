//! A door without a waiting room: as many as the limit says, the rest are refused at once.
//!
//! Netflix's SimpleLimiter, Envoy's filter, failsafe-go's limiter and tower's `LoadShed` over any
//! of them stand like this. What is left out: waiting of any kind, and the race between threads
//! that lets some of the originals pass their limit by a few.

use std::fmt;

use backpressure_core::{Limit, Sample, Timestamp};

use crate::controller::{Answer, AttemptInfo, Controller, Instruments, Next, Refusal};

/// Sets the limit of a door.
pub(super) trait LimitAlgorithm: fmt::Debug {
    /// How many may be in flight.
    fn limit(&self) -> usize;

    /// Whether another may come in while `in_flight` are.
    fn admits(&self, in_flight: usize) -> bool {
        in_flight < self.limit()
    }

    /// Somebody came in; `in_flight` counts him.
    fn admitted(&mut self, _in_flight: usize) {}

    /// Somebody who was not cancelled goes; `in_flight` still counts him.
    fn completed(&mut self, sample: &Sample, in_flight: usize, now: Timestamp);

    /// When it wants to be rung; `None`: never.
    fn next_tick(&self) -> Option<Timestamp> {
        None
    }

    fn tick(&mut self, _instruments: &Instruments, _now: Timestamp) {}
}

/// The door, in front of one server.
#[derive(Debug)]
pub(super) struct Limiter<T> {
    algorithm: T,
    in_flight: usize,
}

impl<T: LimitAlgorithm + 'static> Limiter<T> {
    pub(super) fn of(algorithm: T) -> Box<dyn Controller> {
        Box::new(Self { algorithm, in_flight: 0 })
    }
}

impl<T: LimitAlgorithm> Controller for Limiter<T> {
    fn arrive(&mut self, _visitor: AttemptInfo, _now: Timestamp) -> Answer {
        if !self.algorithm.admits(self.in_flight) {
            return Answer::Shed(Refusal::default());
        }
        self.in_flight += 1;
        self.algorithm.admitted(self.in_flight);
        Answer::Run
    }

    fn depart(&mut self, _visitor: AttemptInfo, sample: &Sample, now: Timestamp) {
        if teaches(sample) {
            self.algorithm.completed(sample, self.in_flight, now);
        }
        self.in_flight -= 1;
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        None
    }

    fn abandon(&mut self, _visitor: AttemptInfo, _now: Timestamp) {}

    fn next_tick(&self) -> Option<Timestamp> {
        self.algorithm.next_tick()
    }

    fn tick(&mut self, instruments: &Instruments, now: Timestamp) {
        self.algorithm.tick(instruments, now);
    }

    fn limit(&self) -> f64 {
        self.algorithm.limit() as f64
    }

    fn queued(&self) -> usize {
        0
    }
}

/// Whether anything was measured: a cancelled attempt is ignored by every original, too
/// (`onIgnore`, `cancelLatencySample`, `Drop`).
pub(super) fn teaches(sample: &Sample) -> bool {
    sample.weight > 0 && sample.outcome.tells_latency()
}

/// A limit of the core, where that is the published one to the bit.
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
    use crate::controller::fixtures::{at, overload, success, visitor};

    #[test]
    fn as_many_as_the_limit_are_let_in_and_one_more_for_each_that_leaves() {
        let mut door = Limiter::of(Published(Fixed::new(2)));
        let mut arrive = |id| door.arrive(visitor(id), at(0));
        let shed = Answer::Shed(Refusal { retry_after: None });
        assert_eq!([arrive(1), arrive(2), arrive(3)], [Answer::Run, Answer::Run, shed]);
        door.depart(visitor(1), &success(1_000, 2), at(1));
        assert_eq!(door.arrive(visitor(4), at(1)), Answer::Run);
        assert_eq!((door.limit(), door.queued(), door.next(at(1))), (2.0, 0, None));
    }

    #[test]
    fn a_cancelled_attempt_gives_its_place_back_and_teaches_nothing() {
        let mut door = Limiter::of(Published(Aimd::new().min(1).initial(10)));
        assert_eq!(door.arrive(visitor(1), at(0)), Answer::Run);
        let cancelled = Sample { outcome: Outcome::Cancelled, ..overload(1_000, 10) };
        door.depart(visitor(1), &cancelled, at(1));
        assert_eq!(door.limit(), 10.0);
        assert_eq!(door.arrive(visitor(2), at(0)), Answer::Run);
        door.depart(visitor(2), &overload(1_000, 10), at(1));
        assert_eq!(door.limit(), 9.0);
    }
}
