//! CoDel as in folly, at the head of the queue of a thread pool (100 ms, 5 ms).
//!
//! Source: facebook/folly at 1ad98e2, `folly/executors/Codel.cpp`. The pool has as many threads as the knee. At
//! dequeue a request that waited longer than twice the target is dropped while the shortest wait of the last
//! interval was above the target. Left out: adaptive LIFO, which accompanies it in "Fail at Scale", and the
//! expiry of the queue.

use std::time::Duration;

use backpressure_core::{Sample, Timestamp};

use crate::controller::executor::Executor;
use crate::controller::{Answer, AttemptInfo, Controller, Next, Refusal, Site};

#[derive(Debug)]
struct Pool {
    executor: Executor,
    codel: Codel,
}

/// The algorithm without the pool.
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

    /// Whether to drop a request that waited for `delay`.
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
    fn arrive(&mut self, attempt: AttemptInfo, now: Timestamp) -> Answer {
        if !self.executor.enter(attempt, now) {
            return Answer::Wait;
        }
        self.codel.drops(Duration::ZERO, now);
        Answer::Run
    }

    fn depart(&mut self, _attempt: AttemptInfo, _sample: &Sample, _now: Timestamp) {
        self.executor.release();
    }

    fn next(&mut self, now: Timestamp) -> Option<Next> {
        let called = self.executor.call()?;
        if self.codel.drops(now.since(called.since), now) {
            return Some(Next::Shed(called.attempt.id, Refusal::default()));
        }
        self.executor.take();
        Some(Next::Run(called.attempt.id))
    }

    fn abandon(&mut self, attempt: AttemptInfo, _now: Timestamp) {
        self.executor.forget(attempt.id);
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
    use crate::controller::fixtures::{SITE, at, attempt, success};

    fn drops(codel: &mut Codel, delay_ms: u64, now_ms: u64) -> bool {
        codel.drops(Duration::from_millis(delay_ms), at(now_ms))
    }

    /// CodelTest.cpp, Basic, with its sleeps as times.
    #[test]
    fn the_published_test_is_reproduced() {
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
    fn requests_that_waited_too_long_are_dropped_until_one_is_in_time() {
        let mut pool = make(&Site { knee: 1.0, ..SITE });
        for id in 0..4 {
            pool.arrive(attempt(id), at(id));
        }
        pool.depart(attempt(0), &success(200_000, 1), at(200));
        assert_eq!((pool.next(at(200)), pool.next(at(200))), (Some(Next::Run(1)), None));
        pool.depart(attempt(1), &success(200_000, 1), at(400));
        // The interval before saw a wait of 0 ms, this one begins with 398 ms; from then on it is overload.
        assert_eq!(pool.next(at(400)), Some(Next::Run(2)));
        pool.depart(attempt(2), &success(200_000, 1), at(600));
        pool.arrive(attempt(4), at(599));
        assert_eq!(pool.next(at(600)), Some(Next::Run(3)));
        pool.arrive(attempt(5), at(620));
        pool.depart(attempt(3), &success(30_000, 1), at(630));
        let ends: Vec<_> = std::iter::from_fn(|| pool.next(at(630))).collect();
        assert_eq!(ends, [Next::Shed(4, Refusal::default()), Next::Run(5)]);
    }
}
