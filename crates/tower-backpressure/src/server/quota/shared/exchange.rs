//! One exchange with the store, in a task of its own; and the task that gives back what is not used.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backpressure_core::Grant;
use tokio::time::{Instant, sleep, timeout};

use super::book::Due;
use super::{Leases, SWEEP_INTERVAL, lock};
use crate::server::quota::store::Exchange;
use crate::server::quota::table::Slot;

/// How long a key waits for an answer until it counts as one whose store cannot be asked: a fifth of the default
/// time-out, as a request that is rejected meanwhile may be rejected for nothing.
const PATIENCE: Duration = Duration::from_millis(50);
/// Steps in which such a time passes.
const STEPS: u32 = 5;

/// A claim on its way. Dropped without an answer, it has failed.
pub(super) struct Sent {
    leases: Arc<Leases>,
    slot: Slot,
    due: Due,
    sequence: u64,
    grant: Option<Grant>,
}

impl Sent {
    pub(super) fn new(leases: Arc<Leases>, slot: Slot, due: Due, sequence: u64) -> Self {
        leases.exchanges.fetch_add(1, Ordering::Relaxed);
        Self { leases, slot, due, sequence, grant: None }
    }

    pub(super) async fn exchange(mut self) {
        let leases = Arc::clone(&self.leases);
        let Due { key, quota, book, claim, is_failing } = self.due.clone();
        let (policy, sequence) = (Arc::clone(&leases.policy), self.sequence);
        let exchange =
            Exchange { policy, key, quota, replica: leases.replica, book, sequence, claim };
        let since = Instant::now();
        let mut exchange = leases.store.exchange(exchange);
        let timeout = leases.options.timeout;
        let patience = PATIENCE.min(timeout);
        let mut answer = within(patience, &mut exchange).await;
        if answer.is_none() {
            leases.overdue(self.slot, book);
            answer = within(timeout - patience, &mut exchange).await;
        }
        let result = match &answer {
            Some(Ok(_)) => "ok",
            Some(Err(_)) => "error",
            None => "timeout",
        };
        leases.telemetry.exchanged(result, since.elapsed());
        match answer {
            Some(Ok(grant)) => {
                if leases.health.answered() {
                    leases.telemetry.store_is_back(&leases.policy);
                }
                leases.set_replicas(grant.replicas);
                self.grant = Some(grant);
            }
            Some(Err(error)) => leases.store_failed(&error.to_string(), is_failing),
            None => leases.store_failed("no answer in time", is_failing),
        }
    }
}

/// The answer, if it comes within this time. A pause of the process counts for one step at most, so that an answer that
/// came meanwhile is read.
async fn within<T>(time: Duration, mut answer: impl Future<Output = T> + Unpin) -> Option<T> {
    for _ in 0..STEPS {
        if let Ok(answer) = timeout(time / STEPS, &mut answer).await {
            return Some(answer);
        }
    }
    None
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.leases.exchanges.fetch_sub(1, Ordering::Relaxed);
        let (book, claim) = (self.due.book, self.due.claim);
        self.leases.answered(self.slot, book, &claim, self.grant);
    }
}

impl Leases {
    /// A key that fails by itself is no reason to doubt the store: it would be in doubt for as long as one node of a
    /// cluster is gone.
    fn store_failed(&self, error: &str, key_is_failing: bool) {
        if key_is_failing && !self.health.is_failing() {
            return;
        }
        if self.health.failed(self.now()) {
            self.telemetry.store_fails(&self.policy, error, self.options.on_failure.as_str());
        }
    }
}

/// Gives back what is not used, and forgets keys that have said all, until the layer is gone.
pub(super) struct Sweeper(Weak<Leases>);

impl Sweeper {
    pub(super) fn new(leases: &Arc<Leases>) -> Self {
        Self(Arc::downgrade(leases))
    }

    pub(super) async fn run(self) {
        loop {
            sleep(SWEEP_INTERVAL).await;
            let Some(leases) = self.0.upgrade() else { return };
            for shard in &leases.shards {
                let now = leases.now();
                let due = lock(shard).sweep(|is_failing| leases.may_send(is_failing, now), now);
                for (slot, due) in due {
                    match leases.health.take_turn(now) {
                        true => leases.send(slot, due),
                        false => leases.answered(slot, due.book, &due.claim, None),
                    }
                }
                tokio::task::consume_budget().await;
            }
        }
    }
}

impl Drop for Sweeper {
    /// A runtime that ends takes the task with it; the next request may be served by another one.
    fn drop(&mut self) {
        if let Some(leases) = self.0.upgrade() {
            leases.is_swept.store(false, Ordering::Relaxed);
        }
    }
}
