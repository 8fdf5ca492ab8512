//! One balance, shared by all clones of a budget.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backpressure_core::{Charge, RetryBudget as Rule, Timestamp};
use tokio::time::Instant;

use super::BudgetSnapshot;

/// The rule with its state behind a lock, which only failures take.
///
/// What earns tokens on the way of a successful request is counted in an atomic number, and told to the
/// rule with the next failure. Relaxed ordering suffices, as the number guards no other memory.
#[derive(Debug)]
pub(super) struct Balance {
    /// As it was at the start.
    initial: Rule,
    opened: Instant,
    /// First attempts, or first successes, that the rule has not been told of.
    untold: AtomicU64,
    /// More of them could not raise the balance further. A number at its maximum is only read.
    max_untold: u64,
    counts_first_attempts: bool,
    counts_results: bool,
    /// Since when connections are refused, in microseconds after `opened`; zero while they are made.
    refused_since: AtomicU64,
    ledger: Mutex<Ledger>,
}

#[derive(Debug)]
struct Ledger {
    rule: Rule,
    granted: u64,
    denied: u64,
}

impl Balance {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            initial: rule.clone(),
            opened: Instant::now(),
            untold: AtomicU64::new(0),
            max_untold: rule.events_that_fill(),
            counts_first_attempts: rule.counts_first_attempts(),
            counts_results: rule.counts_results(),
            refused_since: AtomicU64::new(0),
            ledger: Mutex::new(Ledger { rule, granted: 0, denied: 0 }),
        }
    }

    /// The rule without what has happened since.
    pub(super) fn new_rule(&self) -> Rule {
        self.initial.clone()
    }

    pub(super) const fn counts_results(&self) -> bool {
        self.counts_results
    }

    pub(super) fn first_attempt(&self) {
        if self.counts_first_attempts {
            self.count_event();
        }
    }

    pub(super) fn success(&self, last: Option<Charge>) {
        match last {
            _ if !self.counts_results => {}
            Some(charge) => self.ledger().rule.succeeded_after(charge),
            None => self.count_event(),
        }
    }

    pub(super) fn failure(&self) {
        if self.counts_results {
            self.ledger().rule.failed();
        }
    }

    pub(super) fn withdraw(&self, timed_out: bool) -> Option<Charge> {
        let mut ledger = self.ledger();
        let charge = ledger.rule.withdraw(self.now(), timed_out);
        match charge {
            Some(_) => ledger.granted += 1,
            None => ledger.denied += 1,
        }
        charge
    }

    pub(super) fn refund(&self, charge: Charge) {
        let mut ledger = self.ledger();
        ledger.rule.refund(charge);
        ledger.granted -= 1;
    }

    /// A connection was refused. Returns for how long all have been.
    pub(super) fn connection_refused(&self) -> Duration {
        let elapsed = self.now().since(Timestamp::ZERO);
        let now = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
        let since = self.refused_since.compare_exchange(0, now, Relaxed, Relaxed);
        Duration::from_micros(now.saturating_sub(since.err().unwrap_or(now)))
    }

    /// A connection was made.
    pub(super) fn connected(&self) {
        if self.refused_since.load(Relaxed) > 0 {
            self.refused_since.store(0, Relaxed);
        }
    }

    pub(super) fn snapshot(&self) -> BudgetSnapshot {
        let mut ledger = self.ledger();
        BudgetSnapshot {
            balance: ledger.rule.balance(self.now()),
            largest_balance: ledger.rule.largest_balance(),
            granted: ledger.granted,
            denied: ledger.denied,
        }
    }

    fn count_event(&self) {
        if self.untold.load(Relaxed) < self.max_untold {
            self.untold.fetch_add(1, Relaxed);
        }
    }

    /// The ledger, told of all that was counted without it.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if self.untold.load(Relaxed) > 0 {
            let untold = self.untold.swap(0, Relaxed);
            match self.counts_first_attempts {
                true => ledger.rule.first_attempts(untold, self.now()),
                false => ledger.rule.first_successes(untold),
            }
        }
        ledger
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + Instant::now().saturating_duration_since(self.opened)
    }
}
