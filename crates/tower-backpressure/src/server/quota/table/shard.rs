//! A part of the keys, under one lock.

use std::sync::Arc;

use backpressure_core::{MAX_WINDOWS, QuotaDecision, QuotaUsage, Timestamp};

use super::{Decided, Eviction};
use crate::server::quota::index::Index;
use crate::server::quota::plan::Plan;

/// A part of the keys.
#[derive(Debug)]
pub(super) struct Shard {
    index: Index,
    entries: Vec<Entry>,
    /// As many for each entry as the plan with the most windows has.
    usages: Vec<QuotaUsage>,
    windows: usize,
    plans: Vec<Arc<Plan>>,
    max: usize,
    /// Where the search for an entry to forget goes on.
    hand: usize,
    /// For keys that find no room since all others have requests in flight.
    overflow: [QuotaUsage; MAX_WINDOWS],
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    in_flight: u32,
    plan: u32,
}

/// Where a key is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Position {
    Entry(u32),
    /// It shares a quota with all others that have found no room.
    Overflow,
}

/// How many entries are looked at for one to forget. Of eight that are not full again, the one with the least to
/// forgive is among the best eighth.
const EXAMINED: usize = 8;
/// How many more are looked at while all of them have requests in flight.
const EXAMINED_IN_FLIGHT: usize = 64;

impl Shard {
    pub(super) fn new(plan: Arc<Plan>, max: usize) -> Self {
        let windows = plan.quota.windows().count();
        Self {
            index: Index::default(),
            entries: Vec::new(),
            usages: Vec::new(),
            windows,
            plans: vec![plan],
            max: max.max(1),
            hand: 0,
            overflow: [QuotaUsage::default(); MAX_WINDOWS],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn max(&self) -> usize {
        self.max
    }

    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
    }

    pub(super) fn plan(&self, plan: u32) -> Option<Arc<Plan>> {
        self.plans.get(plan as usize).cloned()
    }

    pub(super) fn plan_named(&self, name: &str) -> Option<u32> {
        self.plans.iter().position(|plan| *plan.name == *name).map(|position| position as u32)
    }

    pub(super) fn find(&self, hash: u64) -> Option<u32> {
        self.index.find(hash, |position| self.entries[position as usize].hash)
    }

    /// Where this key is, and how another was forgotten for it.
    pub(super) fn find_or_insert(
        &mut self,
        hash: u64,
        plan: u32,
        now: Timestamp,
    ) -> (Position, Option<Eviction>) {
        if let Some(position) = self.find(hash) {
            self.change_plan(position as usize, plan, now);
            return (Position::Entry(position), None);
        }
        if self.entries.len() < self.max {
            self.grow();
            let position = self.entries.len();
            self.entries.push(Entry { hash, in_flight: 0, plan });
            self.usages.resize((position + 1) * self.windows, QuotaUsage::default());
            self.enter(hash, position);
            return (Position::Entry(position as u32), None);
        }
        let Some((position, eviction)) = self.find_least_used(now) else {
            return (Position::Overflow, None);
        };
        self.leave_index(self.entries[position].hash);
        self.entries[position] = Entry { hash, in_flight: 0, plan };
        self.usage(position).fill(QuotaUsage::default());
        self.enter(hash, position);
        (Position::Entry(position as u32), Some(eviction))
    }

    pub(super) fn decide(
        &mut self,
        position: Position,
        plan: u32,
        cost: u64,
        now: Timestamp,
    ) -> Decided {
        let Position::Entry(at) = position else {
            let plan = Arc::clone(&self.plans[plan as usize]);
            let decision = plan.quota.decide(&mut self.overflow, 0, cost, now);
            return Decided::new(decision, self.overflow, 0, plan);
        };
        let windows = self.windows;
        let entry = &mut self.entries[at as usize];
        let quota = &self.plans[entry.plan as usize].quota;
        let usage = &mut self.usages[at as usize * windows..][..windows];
        let decision = quota.decide(usage, entry.in_flight, cost, now);
        if quota.max_in_flight().is_some() && !matches!(decision, QuotaDecision::Reject(_)) {
            entry.in_flight = entry.in_flight.saturating_add(1);
        }
        self.describe(position, decision)
    }

    pub(super) fn describe(&self, position: Position, decision: QuotaDecision) -> Decided {
        let mut copy = self.overflow;
        let (in_flight, plan) = match position {
            Position::Overflow => (0, &self.plans[0]),
            Position::Entry(at) => {
                let (at, entry) = (at as usize, &self.entries[at as usize]);
                let usage = &self.usages[at * self.windows..][..self.windows];
                copy[..self.windows].copy_from_slice(usage);
                (entry.in_flight, &self.plans[entry.plan as usize])
            }
        };
        Decided::new(decision, copy, in_flight, Arc::clone(plan))
    }

    pub(super) fn settle(
        &mut self,
        position: Position,
        reserved: u64,
        actual: u64,
        now: Timestamp,
    ) {
        let Position::Entry(at) = position else { return };
        let plan = Arc::clone(&self.plans[self.entries[at as usize].plan as usize]);
        plan.quota.settle(self.usage(at as usize), reserved, actual, now);
    }

    pub(super) fn leave(&mut self, hash: u64) {
        if let Some(position) = self.find(hash) {
            let in_flight = &mut self.entries[position as usize].in_flight;
            *in_flight = in_flight.saturating_sub(1);
        }
    }

    /// Requests in flight stay counted.
    pub(super) fn forget(&mut self, hash: u64) {
        let Some(position) = self.find(hash) else { return };
        let position = position as usize;
        self.usage(position).fill(QuotaUsage::default());
        if self.entries[position].in_flight > 0 {
            return;
        }
        self.leave_index(hash);
        let last = self.entries.len() - 1;
        if position != last {
            let windows = self.windows;
            self.usages.copy_within(last * windows..(last + 1) * windows, position * windows);
            self.index.moved(self.entries[last].hash, last as u32, position as u32);
        }
        self.entries.swap_remove(position);
        self.usages.truncate(last * self.windows);
    }

    pub(super) fn set_plan(&mut self, position: u32, plan: &Arc<Plan>, now: Timestamp) {
        self.widen(plan.quota.windows().count());
        let Some(old) = self.plans.get(position as usize).cloned() else {
            self.plans.push(Arc::clone(plan));
            return;
        };
        for at in 0..self.entries.len() {
            if self.entries[at].plan == position {
                self.move_usage(at, &old, plan, now);
            }
        }
        self.plans[position as usize] = Arc::clone(plan);
    }

    /// Makes room for the windows of a plan that has more than all others.
    fn widen(&mut self, windows: usize) {
        if windows <= self.windows {
            return;
        }
        let mut usages = vec![QuotaUsage::default(); self.entries.len() * windows];
        for at in 0..self.entries.len() {
            let usage = &self.usages[at * self.windows..][..self.windows];
            usages[at * windows..][..self.windows].copy_from_slice(usage);
        }
        (self.usages, self.windows) = (usages, windows);
    }

    fn change_plan(&mut self, at: usize, plan: u32, now: Timestamp) {
        let old = std::mem::replace(&mut self.entries[at].plan, plan);
        if old != plan {
            let plans = [old, plan].map(|plan| Arc::clone(&self.plans[plan as usize]));
            self.move_usage(at, &plans[0], &plans[1], now);
        }
    }

    fn move_usage(&mut self, at: usize, old: &Plan, new: &Plan, now: Timestamp) {
        let windows = self.windows;
        let usage = self.usage(at);
        let moved = new.quota.usage_after(&old.quota, usage, now);
        usage.copy_from_slice(&moved[..windows]);
    }

    fn usage(&mut self, at: usize) -> &mut [QuotaUsage] {
        &mut self.usages[at * self.windows..][..self.windows]
    }

    /// By a quarter, where `Vec` would double: half of a table may be unused otherwise.
    fn grow(&mut self) {
        if self.entries.len() == self.entries.capacity() {
            let more = (self.entries.len() / 4).max(4);
            self.entries.reserve_exact(more);
            self.usages.reserve_exact(more * self.windows);
        }
    }

    fn enter(&mut self, hash: u64, position: usize) {
        let entries = &self.entries;
        self.index.insert(hash, position as u32, |position| entries[position as usize].hash);
    }

    fn leave_index(&mut self, hash: u64) {
        let entries = &self.entries;
        self.index.remove(hash, |position| entries[position as usize].hash);
    }

    /// An entry whose buckets are full again, or of some the one that is full first.
    fn find_least_used(&mut self, now: Timestamp) -> Option<(usize, Eviction)> {
        let (mut best, mut examined) = (None, 0);
        for _ in 0..self.entries.len().min(EXAMINED_IN_FLIGHT) {
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = self.entries[self.hand];
            if entry.in_flight > 0 {
                continue;
            }
            let usage = &self.usages[self.hand * self.windows..][..self.windows];
            let full_in = self.plans[entry.plan as usize].quota.full_in(usage, now);
            if full_in.is_zero() {
                return Some((self.hand, Eviction::Full));
            }
            if best.is_none_or(|(_, least)| full_in < least) {
                best = Some((self.hand, full_in));
            }
            examined += 1;
            if examined == EXAMINED {
                break;
            }
        }
        best.map(|(position, _)| (position, Eviction::Early))
    }
}

impl From<u32> for Position {
    fn from(position: u32) -> Self {
        Self::Entry(position)
    }
}
