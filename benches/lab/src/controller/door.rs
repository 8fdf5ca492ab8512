//! A door without a waiting room: as many as the limit says, the rest are refused at once.
//!
//! Netflix's SimpleLimiter, Envoy's filter, failsafe-go's limiter and tower's `LoadShed` over any
//! of them stand like this. What is left out: waiting of any kind, and the race between threads
//! that lets some of the originals pass their limit by a few.

use std::fmt;

use backpressure_core::{Limit, Sample, Timestamp};

use crate::controller::{Answer, Controller, Instruments, Next, Refusal, Visitor};

/// Sets the limit of a door.
pub(super) trait Tuner: fmt::Debug {
    /// How many may be in flight.
    fn limit(&self) -> usize;

    /// Whether another may come in while `in_flight` are.
    fn admits(&self, in_flight: usize) -> bool {
        in_flight < self.limit()
    }

    /// Somebody came in; `in_flight` counts him.
    fn entered(&mut self, _in_flight: usize) {}

    /// Somebody who was not cancelled goes; `in_flight` still counts him.
    fn left(&mut self, sample: &Sample, in_flight: usize, now: Timestamp);

    /// When it wants to be rung; `None`: never.
    fn alarm(&self) -> Option<Timestamp> {
        None
    }

    fn rang(&mut self, _instruments: &Instruments, _now: Timestamp) {}
}

/// The door, in front of one server.
#[derive(Debug)]
pub(super) struct Door<T> {
    tuner: T,
    in_flight: usize,
}

impl<T: Tuner + 'static> Door<T> {
    pub(super) fn of(tuner: T) -> Box<dyn Controller> {
        Box::new(Self { tuner, in_flight: 0 })
    }
}

impl<T: Tuner> Controller for Door<T> {
    fn arrive(&mut self, _visitor: Visitor, _now: Timestamp) -> Answer {
        if !self.tuner.admits(self.in_flight) {
            return Answer::Shed(Refusal::default());
        }
        self.in_flight += 1;
        self.tuner.entered(self.in_flight);
        Answer::Run
    }

    fn depart(&mut self, _visitor: Visitor, sample: &Sample, now: Timestamp) {
        if teaches(sample) {
            self.tuner.left(sample, self.in_flight, now);
        }
        self.in_flight -= 1;
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        None
    }

    fn abandon(&mut self, _visitor: Visitor, _now: Timestamp) {}

    fn alarm(&self) -> Option<Timestamp> {
        self.tuner.alarm()
    }

    fn tick(&mut self, instruments: &Instruments, now: Timestamp) {
        self.tuner.rang(instruments, now);
    }

    fn limit(&self) -> f64 {
        self.tuner.limit() as f64
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

impl<L: Limit> Tuner for Published<L> {
    fn limit(&self) -> usize {
        self.0.limit()
    }

    fn left(&mut self, sample: &Sample, _in_flight: usize, now: Timestamp) {
        self.0.observe(sample, now);
    }
}

#[cfg(test)]
mod tests {
    use backpressure_core::{Aimd, Fixed, Outcome};

    use super::*;
    use crate::controller::steps::{at, overload, success, visitor};

    #[test]
    fn as_many_as_the_limit_are_let_in_and_one_more_for_each_that_leaves() {
        let mut door = Door::of(Published(Fixed::new(2)));
        let mut arrive = |id| door.arrive(visitor(id), at(0));
        let shed = Answer::Shed(Refusal { retry_after: None });
        assert_eq!([arrive(1), arrive(2), arrive(3)], [Answer::Run, Answer::Run, shed]);
        door.depart(visitor(1), &success(1_000, 2), at(1));
        assert_eq!(door.arrive(visitor(4), at(1)), Answer::Run);
        assert_eq!((door.limit(), door.queued(), door.next(at(1))), (2.0, 0, None));
    }

    #[test]
    fn a_cancelled_attempt_gives_its_place_back_and_teaches_nothing() {
        let mut door = Door::of(Published(Aimd::new().min(1).initial(10)));
        assert_eq!(door.arrive(visitor(1), at(0)), Answer::Run);
        let cancelled = overload(1_000, 10).outcome(Outcome::Cancelled);
        door.depart(visitor(1), &cancelled, at(1));
        assert_eq!(door.limit(), 10.0);
        assert_eq!(door.arrive(visitor(2), at(0)), Answer::Run);
        door.depart(visitor(2), &overload(1_000, 10), at(1));
        assert_eq!(door.limit(), 9.0);
    }
}
