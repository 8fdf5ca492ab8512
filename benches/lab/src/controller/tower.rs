//! tower 0.5: `ConcurrencyLimit`, alone and under `LoadShed`.
//!
//! Source: tower-rs/tower, `tower/src/limit/concurrency` and `tower/src/load_shed`. The limit has no default:
//! here it is the knee. Alone, a request that finds no permit waits in the semaphore's fair queue, which has no
//! bound; under `LoadShed` it is rejected at once. Left out: the permit that an idle clone of the service can
//! hold.

use backpressure_core::{Fixed, Sample, Timestamp};

use crate::controller::executor::Executor;
use crate::controller::limiter::{Limiter, Published};
use crate::controller::{Answer, AttemptInfo, Controller, Next, Site};

#[derive(Debug)]
struct ConcurrencyLimit(Executor);

pub(super) fn waiting(site: &Site) -> Box<dyn Controller> {
    Box::new(ConcurrencyLimit(Executor::new(site.knee)))
}

pub(super) fn shedding(site: &Site) -> Box<dyn Controller> {
    Limiter::of(Published(Fixed::new((site.knee.round() as usize).max(1))))
}

impl Controller for ConcurrencyLimit {
    fn arrive(&mut self, attempt: AttemptInfo, now: Timestamp) -> Answer {
        if self.0.enter(attempt, now) { Answer::Run } else { Answer::Wait }
    }

    fn depart(&mut self, _attempt: AttemptInfo, _sample: &Sample, _now: Timestamp) {
        self.0.release();
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        let called = self.0.call()?;
        self.0.take();
        Some(Next::Run(called.attempt.id))
    }

    fn abandon(&mut self, attempt: AttemptInfo, _now: Timestamp) {
        self.0.forget(attempt.id);
    }

    fn limit(&self) -> f64 {
        self.0.threads() as f64
    }

    fn queued(&self) -> usize {
        self.0.queued()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{SITE, at, attempt, success};

    /// tower/tests/limit/concurrency.rs, basic_service_limit_functionality_with_poll_ready: at a
    /// limit of 2 the third is not ready until one of the two is answered.
    #[test]
    fn the_published_test_of_a_limit_of_two_is_reproduced() {
        let mut limit = waiting(&Site { knee: 2.0, ..SITE });
        let mut arrive = |id| limit.arrive(attempt(id), at(0));
        assert_eq!([arrive(1), arrive(2), arrive(3)], [Answer::Run, Answer::Run, Answer::Wait]);
        assert_eq!((limit.next(at(0)), limit.queued()), (None, 1));
        limit.depart(attempt(1), &success(1_000, 1), at(1));
        assert_eq!((limit.next(at(1)), limit.next(at(1))), (Some(Next::Run(3)), None));
    }

    #[test]
    fn a_request_that_gives_up_leaves_the_queue() {
        let mut limit = waiting(&Site { knee: 1.0, ..SITE });
        for id in 1..=3 {
            limit.arrive(attempt(id), at(0));
        }
        limit.abandon(attempt(2), at(1));
        limit.depart(attempt(1), &success(1_000, 1), at(2));
        assert_eq!(limit.next(at(2)), Some(Next::Run(3)));
    }
}
