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
    /// One word for each entry, and as many more as the plan with the most windows has: a decision reads one place.
    words: Vec<u128>,
    windows: usize,
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
            words: Vec::new(),
            windows,
            plans: vec![plan],
            max: max.max(1),
            hand: 0,
            overflow: Usage::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len() / self.stride()
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
        self.index.find(hash, |position| self.entry(position as usize).hash)
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
        let (at, eviction) = if self.len() < self.max {
            self.grow();
            let at = self.len();
            self.words.resize(self.words.len() + self.stride(), 0);
            (at, None)
        } else {
            let Some((at, eviction)) = self.find_least_used(now) else {
                return (Position::Overflow, None);
            };
            self.leave_index(self.entry(at).hash);
            (at, Some(eviction))
        };
        self.set_entry(at, Entry { hash, in_flight: 0, plan });
        self.set_usage(at, &Usage::default());
        let (words, stride) = (&self.words, self.windows + 1);
        let hash_at = |position: u32| Entry::of_word(words[position as usize * stride]).hash;
        self.index.insert(hash, at as u32, hash_at);
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

    pub(super) fn settle(&mut self, position: u32, reserved: u64, actual: u64, now: Timestamp) {
        let at = position as usize;
        let mut usage = self.usage(at);
        let plan = &self.plans[self.entry(at).plan as usize];
        plan.quota.settle(&mut usage, reserved, actual, now);
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
        self.leave_index(hash);
        let (last, stride) = (self.len() - 1, self.stride());
        if at != last {
            self.index.moved(self.entry(last).hash, last as u32, position);
            self.words.copy_within(last * stride.., at * stride);
        }
        self.words.truncate(last * stride);
    }

    pub(super) fn set_plan(&mut self, position: u32, plan: &Arc<Plan>, now: Timestamp) {
        self.widen(plan.quota.windows().count());
        let Some(old) = self.plans.get(position as usize).cloned() else {
            self.plans.push(Arc::clone(plan));
            return;
        };
        for at in 0..self.len() {
            if self.entry(at).plan == position {
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
        let mut words = Vec::with_capacity(self.len() * (windows + 1));
        for entry in self.words.chunks(self.stride()) {
            words.extend_from_slice(entry);
            words.resize(words.len() + windows - self.windows, 0);
        }
        (self.words, self.windows) = (words, windows);
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

    const fn stride(&self) -> usize {
        self.windows + 1
    }

    fn entry(&self, at: usize) -> Entry {
        Entry::of_word(self.words[at * self.stride()])
    }

    fn set_entry(&mut self, at: usize, entry: Entry) {
        let stride = self.stride();
        self.words[at * stride] = entry.to_word();
    }

    fn usage(&self, at: usize) -> Usage {
        let mut usage = Usage::default();
        let words = &self.words[at * self.stride() + 1..][..self.windows];
        for (usage, word) in usage.iter_mut().zip(words) {
            *usage = QuotaUsage::from_bits(*word);
        }
        usage
    }

    fn set_usage(&mut self, at: usize, usage: &Usage) {
        let (stride, windows) = (self.stride(), self.windows);
        let words = &mut self.words[at * stride + 1..][..windows];
        for (word, usage) in words.iter_mut().zip(usage) {
            *word = usage.to_bits();
        }
    }

    /// By a quarter, where `Vec` would double: half of a table may be unused otherwise.
    fn grow(&mut self) {
        if self.words.len() == self.words.capacity() {
            let more = (self.len() / 4).max(4);
            self.words.reserve_exact(more * self.stride());
        }
    }

    fn leave_index(&mut self, hash: u64) {
        let (words, stride) = (&self.words, self.windows + 1);
        self.index.remove(hash, |position| Entry::of_word(words[position as usize * stride]).hash);
    }

    /// An entry whose buckets are full again, or of some the one that is full first.
    fn find_least_used(&mut self, now: Timestamp) -> Option<(usize, Eviction)> {
        let (mut best, mut examined) = (None, 0);
        for _ in 0..self.len().min(EXAMINED_IN_FLIGHT) {
            self.hand = (self.hand + 1) % self.len();
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
