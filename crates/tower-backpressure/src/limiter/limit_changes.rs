//! Counts how often a limit has changed, by cause.

use backpressure_core::{Cause, LimitChange};

use super::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The causes of changes, as labels of a metric. The last one is that of an operator: another algorithm, or
/// other bounds.
pub(crate) const CAUSES: [&str; 10] = [
    "run-queue",
    "experiment",
    "change",
    "pushback",
    "demand",
    "idle",
    "stalled",
    "abandoned",
    "other",
    "operator",
];
const OTHER: usize = 8;
const OPERATOR: usize = 9;

/// The limit as last published, and the number of its changes. Written with the limiter's lock held.
#[derive(Debug)]
pub(crate) struct LimitChanges {
    limit: AtomicUsize,
    by_cause: [AtomicU64; CAUSES.len()],
}

impl LimitChanges {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            by_cause: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Publishes the limit; `last_change` is asked only if it has changed.
    pub(crate) fn publish(&self, limit: usize, last_change: impl FnOnce() -> Option<LimitChange>) {
        if self.limit.swap(limit, Ordering::Relaxed) != limit {
            let cause =
                last_change().filter(|change| change.to == limit).map(|change| change.cause);
            self.by_cause[index(cause)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes so far, in the order of [`CAUSES`].
    #[cfg(feature = "http")]
    pub(crate) fn counts(&self) -> [u64; CAUSES.len()] {
        std::array::from_fn(|index| self.by_cause[index].load(Ordering::Relaxed))
    }
}

const fn index(cause: Option<Cause>) -> usize {
    match cause {
        Some(Cause::RunQueue { .. }) => 0,
        Some(Cause::Experiment { .. }) => 1,
        Some(Cause::Change { .. }) => 2,
        Some(Cause::Pushback { .. }) => 3,
        Some(Cause::Demand { .. }) => 4,
        Some(Cause::Idle) => 5,
        Some(Cause::Stalled) => 6,
        Some(Cause::Abandoned { .. }) => 7,
        Some(_) => OTHER,
        None => OPERATOR,
    }
}
