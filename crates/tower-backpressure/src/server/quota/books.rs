//! Where a layer keeps what its keys have used.

use backpressure_core::Timestamp;
use tokio::time::Instant;

use super::table::{Decided, Slot, Table};

/// What the keys of one layer have used.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) table: Table,
    epoch: Instant,
}

impl Books {
    pub(super) fn new(table: Table) -> Self {
        Self { table, epoch: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.timestamp(Instant::now())
    }

    pub(super) fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::ZERO + at.saturating_duration_since(self.epoch)
    }

    /// Decides on a request, and takes its tokens.
    pub(super) fn decide(&self, subject: &Subject, now: Timestamp) -> Decided {
        self.table.decide(subject.slot, subject.plan, subject.cost, now)
    }

    /// A request that had taken some tokens has cost others.
    pub(super) fn settle(&self, subject: &Subject, before: u64, tokens: u64) {
        self.table.settle(subject.slot, before, tokens, self.now());
    }

    /// A request that counted among those at once has ended.
    pub(super) fn leave(&self, slot: Slot) {
        self.table.leave(slot);
    }
}

/// What a request uses: whose quota, by which plan, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) slot: Slot,
    pub(super) plan: u32,
    pub(super) cost: u64,
}
