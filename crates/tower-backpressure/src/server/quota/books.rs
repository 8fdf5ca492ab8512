//! Where a layer keeps what its keys have used.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backpressure_core::{MAX_TOKENS, TakenTokens, Timestamp};
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use super::busiest::Busiest;
use super::plan::Plan;
use super::shared::{Leases, SharedQuota};
use super::subject::Subject;
use super::table::{Decided, Slot, Table};
use super::telemetry::QuotaTelemetry;

/// What the keys of one layer have used.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) table: Table,
    /// The keys with the most requests lately.
    pub(super) busiest: Busiest,
    /// Of a quota that replicas share. The table is then not used, but for the plans.
    shared: OnceLock<Arc<Leases>>,
    epoch: Instant,
}

impl Books {
    pub(super) fn new(table: Table) -> Self {
        let (busiest, shared) = (Busiest::default(), OnceLock::new());
        Self { table, busiest, shared, epoch: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.timestamp(Instant::now())
    }

    pub(super) fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::ZERO + at.saturating_duration_since(self.epoch)
    }

    /// Shares the quota of these plans with other replicas.
    ///
    /// # Panics
    /// When it is shared already.
    pub(super) fn share(&self, policy: &str, options: SharedQuota, telemetry: QuotaTelemetry) {
        let plans: Vec<_> = (0..).map_while(|position| self.table.plan(position)).collect();
        let leases =
            Leases::new(policy, options, &plans, self.table.max_keys(), telemetry, self.epoch);
        assert!(self.shared.set(Arc::new(leases)).is_ok(), "a quota must have one store");
    }

    /// Decides on a request, and takes its tokens.
    pub(super) fn decide(&self, subject: &Subject, now: Timestamp) -> Decided {
        match self.shared.get() {
            None => self.table.decide(subject.slot, subject.plan, subject.cost, now),
            Some(leases) => leases.decide(subject, now),
        }
    }

    /// How long a request may wait for an answer of the store, and what tells it of one.
    pub(super) fn wait_for_answer(&self, slot: Slot) -> Option<(Duration, OwnedNotified)> {
        self.shared.get().and_then(|leases| leases.wait_for_answer(slot))
    }

    /// A request that had taken some tokens has cost others. There are no more than
    /// [`MAX_TOKENS`](backpressure_core::MAX_TOKENS): the sums of a lease would overflow.
    pub(super) fn settle(&self, subject: &Subject, taken: &mut TakenTokens, tokens: u64) {
        let (now, tokens) = (self.now(), tokens.min(MAX_TOKENS));
        match self.shared.get() {
            None => self.table.settle(subject.slot, taken, tokens, now),
            Some(leases) => leases.settle(subject, taken, tokens, now),
        }
    }

    /// A request that counted among those at once has ended.
    pub(super) fn leave(&self, slot: Slot) {
        match self.shared.get() {
            None => self.table.leave(slot),
            Some(leases) => leases.leave(slot),
        }
    }

    /// How a key stands; `None`: it has used nothing lately.
    pub(super) fn peek(&self, slot: Slot) -> Option<Decided> {
        match self.shared.get() {
            None => self.table.peek(slot),
            Some(leases) => leases.peek(slot),
        }
    }

    pub(super) fn set_plan(&self, position: u32, plan: Plan) {
        let plan = Arc::new(plan);
        self.table.set_plan(position, &plan, || self.now());
        if let Some(leases) = self.shared.get() {
            leases.set_plan(position, &plan, || self.now());
        }
    }

    pub(super) fn set_max_keys(&self, max_keys: usize) {
        self.table.set_max_keys(max_keys);
        if let Some(leases) = self.shared.get() {
            leases.set_max_keys(max_keys);
        }
    }

    /// The number of keys that are kept.
    pub(super) fn len(&self) -> usize {
        self.table.len() + self.shared.get().map_or(0, |leases| leases.len())
    }
}
