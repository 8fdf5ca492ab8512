//! A part of the keys, under one lock.

use std::sync::Arc;

use backpressure_core::{Quota, QuotaDecision, TakenTokens, Timestamp};

use super::slots::{Layout, Meta, Slots, Usage};
use super::{Decided, Eviction};
use crate::server::quota::plan::Plan;

/// A part of the keys.
#[derive(Debug)]
pub(super) struct Shard {
    /// With room for what the plans need: a decision reads one place.
    slots: Slots,
    plans: Vec<Arc<Plan>>,
    max: usize,
    /// Where the search for an entry to forget goes on.
    hand: usize,
    /// For keys that find no room since all others have requests in flight.
    overflow: Usage,
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
        Self {
            slots: Slots::new(layout(&plan.quota)),
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
        self.slots.set_meta(at, Meta { plan, in_flight: 0 });
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
        let (mut meta, mut usage) = (self.slots.meta(at), self.slots.usage(at));
        let plan = Arc::clone(&self.plans[meta.plan as usize]);
        let decision = plan.quota.decide(&mut usage, meta.in_flight, cost, now);
        if !matches!(decision, QuotaDecision::Reject(_)) {
            self.slots.set_usage(at, &usage);
            if plan.quota.max_in_flight().is_some() {
                meta.in_flight = meta.in_flight.saturating_add(1);
                self.slots.set_meta(at, meta);
            }
        }
        Decided::new(decision, usage, meta.in_flight, plan)
    }

    pub(super) fn describe(&self, position: u32) -> Decided {
        let meta = self.slots.meta(position as usize);
        let plan = Arc::clone(&self.plans[meta.plan as usize]);
        let usage = self.slots.usage(position as usize);
        Decided::new(QuotaDecision::Admit, usage, meta.in_flight, plan)
    }

    pub(super) fn settle(
        &mut self,
        position: u32,
        taken: &mut TakenTokens,
        actual: u64,
        now: Timestamp,
    ) {
        let at = position as usize;
        let mut usage = self.slots.usage(at);
        let plan = &self.plans[self.slots.meta(at).plan as usize];
        plan.quota.settle(&mut usage, taken, actual, now);
        self.slots.set_usage(at, &usage);
    }

    pub(super) fn leave(&mut self, hash: u64) {
        if let Some(position) = self.find(hash) {
            let mut meta = self.slots.meta(position as usize);
            meta.in_flight = meta.in_flight.saturating_sub(1);
            self.slots.set_meta(position as usize, meta);
        }
    }

    /// Requests in flight stay counted.
    pub(super) fn forget(&mut self, hash: u64) {
        let Some(position) = self.find(hash) else { return };
        let at = position as usize;
        if self.slots.meta(at).in_flight > 0 {
            self.slots.set_usage(at, &Usage::default());
        } else {
            self.slots.remove(at);
        }
    }

    pub(super) fn set_plan(&mut self, position: u32, plan: &Arc<Plan>, now: Timestamp) {
        self.make_room(position, &plan.quota);
        let Some(old) = self.plans.get(position as usize).cloned() else {
            self.plans.push(Arc::clone(plan));
            return;
        };
        let slots: Vec<_> = self.slots.occupied().collect();
        for at in slots {
            if self.slots.meta(at).plan == position {
                self.move_usage(at, &old, plan, now);
            }
        }
        self.plans[position as usize] = Arc::clone(plan);
    }

    /// Gives each entry room for what this plan needs.
    fn make_room(&mut self, position: u32, quota: &Quota) {
        let mut layout = self.slots.layout().with(layout(quota));
        layout.has_meta |= position > 0;
        if layout != self.slots.layout() {
            self.slots.lay_out(layout);
        }
    }

    fn change_plan(&mut self, at: usize, plan: u32, now: Timestamp) {
        let meta = self.slots.meta(at);
        if meta.plan != plan {
            let plans = [meta.plan, plan].map(|plan| Arc::clone(&self.plans[plan as usize]));
            self.move_usage(at, &plans[0], &plans[1], now);
            self.slots.set_meta(at, Meta { plan, ..meta });
        }
    }

    fn move_usage(&mut self, at: usize, old: &Plan, new: &Plan, now: Timestamp) {
        let moved = new.quota.usage_after(&old.quota, &self.slots.usage(at), now);
        self.slots.set_usage(at, &moved);
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
            let meta = self.slots.meta(self.hand);
            if meta.in_flight > 0 {
                continue;
            }
            let quota = &self.plans[meta.plan as usize].quota;
            let full_in = quota.full_in(&self.slots.usage(self.hand), now);
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

/// What an entry has for this quota, where it is the only plan.
fn layout(quota: &Quota) -> Layout {
    Layout { has_meta: quota.max_in_flight().is_some(), windows: quota.windows().count() }
}
