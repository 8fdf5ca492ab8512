//! CoDel as folly has it, at the head of a thread pool's queue (100 ms, 5 ms).
//!
//! Source: facebook/folly at 1ad98e2, `folly/executors/Codel.cpp`. A pool of as many threads as the
//! knee, tuned by somebody who knew; at dequeue whoever waited longer than twice the target is
//! dropped while the least wait of the last interval was above the target. Left out: adaptive
//! LIFO, which stands beside it in "Fail at Scale", and the queue's own expiry.

use std::time::Duration;

use backpressure_core::{Sample, Timestamp};

use crate::controller::executor::Executor;
use crate::controller::{Answer, AttemptInfo, Controller, Next, Refusal, Site};

#[derive(Debug)]
struct Pool {
    executor: Executor,
    codel: Codel,
}

/// The law alone.
#[derive(Debug)]
struct Codel {
    least: Duration,
    interval_ends: Timestamp,
    fresh: bool,
    overloaded: bool,
}

pub(super) fn make(site: &Site) -> Box<dyn Controller> {
    Box::new(Pool { executor: Executor::new(site.knee), codel: Codel::new() })
}

impl Codel {
    fn new() -> Self {
        Self {
            least: Duration::ZERO,
            interval_ends: Timestamp::ZERO,
            fresh: true,
            overloaded: false,
        }
    }

    /// Whether to drop somebody who waited for `delay`.
    fn drops(&mut self, delay: Duration, now: Timestamp) -> bool {
        if now > self.interval_ends && !self.fresh {
            self.interval_ends = now + INTERVAL;
            self.overloaded = self.least > TARGET;
            self.fresh = true;
        }
        if self.fresh {
            self.fresh = false;
            self.least = delay;
            return false;
        }
        self.least = self.least.min(delay);
        self.overloaded && delay > 2 * TARGET
    }
}

impl Controller for Pool {
    fn arrive(&mut self, visitor: AttemptInfo, now: Timestamp) -> Answer {
        if !self.executor.enter(visitor, now) {
            return Answer::Wait;
        }
        self.codel.drops(Duration::ZERO, now);
        Answer::Run
    }

    fn depart(&mut self, _visitor: AttemptInfo, _sample: &Sample, _now: Timestamp) {
        self.executor.release();
    }

    fn next(&mut self, now: Timestamp) -> Option<Next> {
        let called = self.executor.call()?;
        if self.codel.drops(now.since(called.since), now) {
            return Some(Next::Shed(called.visitor.id, Refusal::default()));
        }
        self.executor.take();
        Some(Next::Run(called.visitor.id))
    }

    fn abandon(&mut self, visitor: AttemptInfo, _now: Timestamp) {
        self.executor.forget(visitor.id);
    }

    fn limit(&self) -> f64 {
        self.executor.threads() as f64
    }

    fn queued(&self) -> usize {
        self.executor.queued()
    }
}

// The defaults of the flags codel_interval and codel_target_delay.
const INTERVAL: Duration = Duration::from_millis(100);
const TARGET: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{SITE, at, success, visitor};

    fn drops(codel: &mut Codel, delay_ms: u64, now_ms: u64) -> bool {
        codel.drops(Duration::from_millis(delay_ms), at(now_ms))
    }

    /// CodelTest.cpp, Basic, with its sleeps as times.
    #[test]
    fn follys_own_test_is_reproduced() {
        let mut codel = Codel::new();
        assert!(!drops(&mut codel, 100, 110));
        assert!(!drops(&mut codel, 50, 200));
        assert!(drops(&mut codel, 50, 200));
        assert!(!drops(&mut codel, 2, 310));
        assert!(drops(&mut codel, 20, 400));
    }

    /// The same file, oneRequestNoDrop, mediumLoad and reducingLoad.
    #[test]
    fn one_request_alone_and_one_below_twice_the_target_are_not_dropped() {
        let mut codel = Codel::new();
        assert!(!drops(&mut codel, 20, 0));
        assert!(!drops(&mut codel, 8, 90));
        assert!(!drops(&mut codel, 4, 180));
    }

    #[test]
    fn those_who_waited_too_long_are_dropped_until_one_is_in_time() {
        let mut pool = make(&Site { knee: 1.0, ..SITE });
        for id in 0..4 {
            pool.arrive(visitor(id), at(id));
        }
        pool.depart(visitor(0), &success(200_000, 1), at(200));
        assert_eq!((pool.next(at(200)), pool.next(at(200))), (Some(Next::Run(1)), None));
        pool.depart(visitor(1), &success(200_000, 1), at(400));
        // The interval before saw a wait of 0 ms, this one begins with 398 ms; then it is overload.
        assert_eq!(pool.next(at(400)), Some(Next::Run(2)));
        pool.depart(visitor(2), &success(200_000, 1), at(600));
        pool.arrive(visitor(4), at(599));
        assert_eq!(pool.next(at(600)), Some(Next::Run(3)));
        pool.arrive(visitor(5), at(620));
        pool.depart(visitor(3), &success(30_000, 1), at(630));
        let ends: Vec<_> = std::iter::from_fn(|| pool.next(at(630))).collect();
        assert_eq!(ends, [Next::Shed(4, Refusal::default()), Next::Run(5)]);
    }
}
