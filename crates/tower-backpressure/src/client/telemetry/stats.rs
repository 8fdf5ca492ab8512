//! What the registry shows of one retry layer, counted while the registry is watched.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::client::budget::RetryBudget;
use crate::client::gave_up::GiveUpReason;
use crate::observe::{Kind, Part, Registry, Report, RetryReport, Stats, is_watched, next_id};

/// The reasons in the order of their discriminants.
pub(super) const REASONS: [GiveUpReason; 7] = [
    GiveUpReason::Attempts,
    GiveUpReason::Budget,
    GiveUpReason::Deadline,
    GiveUpReason::RetryAfter,
    GiveUpReason::Forbidden,
    GiveUpReason::NotIdempotent,
    GiveUpReason::NotReplayable,
];

/// The counts of one retry layer.
#[derive(Debug)]
pub(super) struct RetryStats {
    id: u64,
    policy: Arc<str>,
    first_attempts: AtomicU64,
    retried: AtomicU64,
    gave_up: [AtomicU64; REASONS.len()],
    waits: Arc<Stats>,
    budget: Mutex<Option<RetryBudget>>,
}

impl RetryStats {
    /// Those of a new layer, which the registry shows from now on.
    pub(super) fn register(policy: &str) -> Arc<Self> {
        let stats = Arc::new(Self {
            id: next_id(),
            policy: policy.into(),
            first_attempts: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            gave_up: [const { AtomicU64::new(0) }; REASONS.len()],
            waits: Stats::new(),
            budget: Mutex::new(None),
        });
        let part: Weak<Self> = Arc::downgrade(&stats);
        Registry::global().add(stats.id, part);
        stats
    }

    pub(super) fn first_attempt(&self) {
        self.waits.sent();
        count(&self.first_attempts);
    }

    pub(super) fn retried(&self) {
        count(&self.retried);
    }

    /// A retry waits.
    pub(super) fn waits(&self, wait: Duration) {
        self.waits.waited(wait);
    }

    pub(super) fn gave_up(&self, reason: GiveUpReason) {
        count(&self.gave_up[reason as usize]);
    }

    pub(super) fn show_budget(&self, budget: &RetryBudget) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = Some(budget.clone());
    }

    fn retries(&self) -> RetryReport {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let gave_up =
            REASONS.iter().map(|reason| (reason.as_str(), read(&self.gave_up[*reason as usize])));
        let budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let balance = budget.as_ref().map(RetryBudget::snapshot);
        RetryReport {
            first_attempts: read(&self.first_attempts),
            retried: read(&self.retried),
            gave_up: gave_up.filter(|(_, count)| *count > 0).collect(),
            balance: balance.map_or(0.0, |it| it.balance),
            largest_balance: balance.map_or(0.0, |it| it.largest_balance),
        }
    }
}

impl Part for RetryStats {
    fn report(&self) -> Report {
        let mut report = Report::new(self.id, Arc::clone(&self.policy), Kind::Retry);
        self.waits.fill(&mut report);
        let retries = self.retries();
        report.requests.admitted = retries.first_attempts + retries.retried;
        report.retries = Some(retries);
        report
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

fn count(number: &AtomicU64) {
    if is_watched() {
        number.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_and_a_name_of_its_own() {
        for (position, reason) in REASONS.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
            let same = REASONS.iter().filter(|other| other.as_str() == reason.as_str());
            assert_eq!(same.count(), 1, "{reason}");
        }
    }
}
