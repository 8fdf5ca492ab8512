//! Whether the store answers: a breaker without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use backpressure_core::Timestamp;

/// Whether the store answers.
#[derive(Debug)]
pub(super) struct Health {
    /// Failures since the last answer.
    failures: AtomicU32,
    /// When it is asked again, in nanoseconds; while it fails.
    ask_at: AtomicU64,
}

/// One lost answer says nothing yet; three in a row happen by chance once in a million times at one in a hundred.
const MAX_FAILURES: u32 = 3;
/// A store that fails is asked after this time, then after twice as long, up to the maximum: it is known to be back
/// within 2 s, and costs no more than an exchange each 2 s until then.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

impl Health {
    pub(super) const fn new() -> Self {
        Self { failures: AtomicU32::new(0), ask_at: AtomicU64::new(0) }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= MAX_FAILURES
    }

    /// When requests that are rejected because the store fails are told to come back.
    pub(super) fn retry_after(&self, now: Timestamp) -> Duration {
        let ask_at = Timestamp::from_nanos(self.ask_at.load(Ordering::Relaxed));
        ask_at.since(now).max(MIN_PAUSE)
    }

    /// Whether the store may be asked now for a key. A key that fails by itself leaves others the time to ask first: its
    /// failure would say nothing of the store.
    pub(super) fn may_send(&self, key_is_failing: bool, now: Timestamp) -> bool {
        let ask_at = Timestamp::from_nanos(self.ask_at.load(Ordering::Relaxed));
        let delay = if key_is_failing { MIN_PAUSE } else { Duration::ZERO };
        !self.is_failing() || now >= ask_at + delay
    }

    /// Whether this claim may be sent now; while the store fails, one at a time.
    pub(super) fn take_turn(&self, now: Timestamp) -> bool {
        if !self.is_failing() {
            return true;
        }
        let ask_at = self.ask_at.load(Ordering::Relaxed);
        if now.as_nanos() < ask_at {
            return false;
        }
        let next = (now + self.pause()).as_nanos();
        let moved =
            self.ask_at.compare_exchange(ask_at, next, Ordering::Relaxed, Ordering::Relaxed);
        moved.is_ok()
    }

    /// The store has answered; true if it had failed.
    pub(super) fn answered(&self) -> bool {
        self.failures.load(Ordering::Relaxed) != 0
            && self.failures.swap(0, Ordering::Relaxed) >= MAX_FAILURES
    }

    /// The store has not answered; true if it fails from now on.
    pub(super) fn failed(&self, now: Timestamp) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures == MAX_FAILURES {
            self.ask_at.store((now + self.pause()).as_nanos(), Ordering::Relaxed);
        }
        failures == MAX_FAILURES
    }

    fn pause(&self) -> Duration {
        let failures = self.failures.load(Ordering::Relaxed).saturating_sub(MAX_FAILURES);
        MIN_PAUSE.saturating_mul(1 << failures.min(8)).min(MAX_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_fails_is_asked_less_and_less_often_and_trusted_after_one_answer() {
        let (health, mut now) = (Health::new(), Timestamp::ZERO);
        let edges: Vec<_> = (0..4).map(|_| health.failed(now)).collect();
        assert_eq!(edges, [false, false, true, false]);
        let mut asked = 0;
        for _ in 0..60_000 {
            now = now + Duration::from_millis(1);
            if health.may_send(false, now) && health.take_turn(now) {
                asked += 1;
                assert!(!health.take_turn(now), "one at a time");
                health.failed(now);
            }
        }
        assert!((30..=36).contains(&asked), "{asked}");
        assert!(health.answered() && !health.answered());
        assert!(!health.is_failing() && health.may_send(false, now));
    }
}
