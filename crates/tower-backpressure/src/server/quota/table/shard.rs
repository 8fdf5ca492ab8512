//! A part of the keys, under one lock.

use std::sync::Arc;

use backpressure_core::{MAX_WINDOWS, QuotaDecision, QuotaUsage, TakenTokens, Timestamp};

use super::slots::Slots;
use super::{Decided, Eviction};
use crate::server::quota::plan::Plan;

/// A part of the keys.
#[derive(Debug)]
pub(super) struct Shard {
    /// One word for each entry, and as many more as the plan with the most windows has: a decision reads one place.
    slots: Slots,
    plans: Vec<Arc<Plan>>,
    max: usize,
    /// Where the search for an entry to forget goes on.
    hand: usize,
    /// For keys that find no room since all others have requests in flight.
    overflow: Usage,
}

/// What one key has used, of which the last windows may be of no plan.
type Usage = [QuotaUsage; MAX_WINDOWS];

/// The first word of an entry.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    in_flight: u32,
    plan: u32,
}

impl Entry {
    const fn of_word(word: u128) -> Self {
        Self { hash: word as u64, in_flight: (word >> 64) as u32, plan: (word >> 96) as u32 }
    }

    fn to_word(self) -> u128 {
        u128::from(self.hash) | u128::from(self.in_flight) << 64 | u128::from(self.plan) << 96
    }
}

/// Where a key is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Position {
    Entry(u32),
    /// It shares a quota with all others that have found no room.
    Overflow,
}

/// How many entries are looked at for one to forget. Where half of all are full again, one in 65 536 searches finds none
/// of them.
const EXAMINED: usize = 16;
/// How many slots are passed to find an entry. A table that is full of keys is at least seven tenths full, and such a
/// gap in it as likely as 1 in 10²⁰.
const MAX_GAP: usize = 64;
/// How many more are looked at while all of them have requests in flight.
const EXAMINED_IN_FLIGHT: usize = 64;

impl Shard {
    pub(super) fn new(plan: Arc<Plan>, max: usize) -> Self {
        let windows = plan.quota.windows().count();
        Self {
            slots: Slots::new(windows + 1),
            plans: vec![plan],
            max: max.max(1),
            hand: 0,
            overflow: Usage::default(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.slots.len()
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
        self.slots.find(hash).and_then(|slot| u32::try_from(slot).ok())
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
        let eviction = if self.len() < self.max {
            None
        } else {
            let Some((slot, eviction)) = self.find_least_used(now) else {
                return (Position::Overflow, None);
            };
            self.slots.remove(slot);
            Some(eviction)
        };
        let at = self.slots.insert(hash);
        self.set_entry(at, Entry { hash, in_flight: 0, plan });
        (Position::Entry(at as u32), eviction)
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
        let at = at as usize;
        let (mut entry, mut usage) = (self.entry(at), self.usage(at));
        let plan = Arc::clone(&self.plans[entry.plan as usize]);
        let decision = plan.quota.decide(&mut usage, entry.in_flight, cost, now);
        if !matches!(decision, QuotaDecision::Reject(_)) {
            self.set_usage(at, &usage);
            if plan.quota.max_in_flight().is_some() {
                entry.in_flight = entry.in_flight.saturating_add(1);
                self.set_entry(at, entry);
            }
        }
        Decided::new(decision, usage, entry.in_flight, plan)
    }

    pub(super) fn describe(&self, position: u32) -> Decided {
        let entry = self.entry(position as usize);
        let plan = Arc::clone(&self.plans[entry.plan as usize]);
        let usage = self.usage(position as usize);
        Decided::new(QuotaDecision::Admit, usage, entry.in_flight, plan)
    }

    pub(super) fn settle(
        &mut self,
        position: u32,
        taken: &mut TakenTokens,
        actual: u64,
        now: Timestamp,
    ) {
        let at = position as usize;
        let mut usage = self.usage(at);
        let plan = &self.plans[self.entry(at).plan as usize];
        plan.quota.settle(&mut usage, taken, actual, now);
        self.set_usage(at, &usage);
    }

    pub(super) fn leave(&mut self, hash: u64) {
        if let Some(position) = self.find(hash) {
            let mut entry = self.entry(position as usize);
            entry.in_flight = entry.in_flight.saturating_sub(1);
            self.set_entry(position as usize, entry);
        }
    }

    /// Requests in flight stay counted.
    pub(super) fn forget(&mut self, hash: u64) {
        let Some(position) = self.find(hash) else { return };
        let at = position as usize;
        self.set_usage(at, &Usage::default());
        if self.entry(at).in_flight > 0 {
            return;
        }
        self.slots.remove(at);
    }

    pub(super) fn set_plan(&mut self, position: u32, plan: &Arc<Plan>, now: Timestamp) {
        self.widen(plan.quota.windows().count());
        let Some(old) = self.plans.get(position as usize).cloned() else {
            self.plans.push(Arc::clone(plan));
            return;
        };
        let slots: Vec<_> = self.slots.occupied().collect();
        for at in slots {
            if self.entry(at).plan == position {
                self.move_usage(at, &old, plan, now);
            }
        }
        self.plans[position as usize] = Arc::clone(plan);
    }

    /// Makes room for the windows of a plan that has more than all others.
    fn widen(&mut self, windows: usize) {
        if windows >= self.slots.stride() {
            self.slots.widen(windows + 1);
        }
    }

    fn change_plan(&mut self, at: usize, plan: u32, now: Timestamp) {
        let entry = self.entry(at);
        if entry.plan != plan {
            let plans = [entry.plan, plan].map(|plan| Arc::clone(&self.plans[plan as usize]));
            self.move_usage(at, &plans[0], &plans[1], now);
            self.set_entry(at, Entry { plan, ..entry });
        }
    }

    fn move_usage(&mut self, at: usize, old: &Plan, new: &Plan, now: Timestamp) {
        let moved = new.quota.usage_after(&old.quota, &self.usage(at), now);
        self.set_usage(at, &moved);
    }

    fn entry(&self, at: usize) -> Entry {
        Entry::of_word(self.slots.entry(at)[0])
    }

    fn set_entry(&mut self, at: usize, entry: Entry) {
        self.slots.entry_mut(at)[0] = entry.to_word();
    }

    fn usage(&self, at: usize) -> Usage {
        let mut usage = Usage::default();
        for (usage, word) in usage.iter_mut().zip(&self.slots.entry(at)[1..]) {
            *usage = QuotaUsage::from_bits(*word);
        }
        usage
    }

    fn set_usage(&mut self, at: usize, usage: &Usage) {
        for (word, usage) in self.slots.entry_mut(at)[1..].iter_mut().zip(usage) {
            *word = usage.to_bits();
        }
    }

    /// An entry whose buckets are full again, or of some the one that is full first.
    fn find_least_used(&mut self, now: Timestamp) -> Option<(usize, Eviction)> {
        let (mut best, mut examined) = (None, 0);
        for _ in 0..self.len().min(EXAMINED_IN_FLIGHT) {
            let Some(next) = self.slots.occupied_after(self.hand, MAX_GAP) else {
                // A table that was once larger: the next search goes on behind the gap.
                self.hand += MAX_GAP;
                break;
            };
            self.hand = next;
            let entry = self.entry(self.hand);
            if entry.in_flight > 0 {
                continue;
            }
            let quota = &self.plans[entry.plan as usize].quota;
            let full_in = quota.full_in(&self.usage(self.hand), now);
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
