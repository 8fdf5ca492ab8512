//! A part of the leases, under one lock.

use std::sync::Arc;

use backpressure_core::{Claim, Grant, QuotaDecision, TakenTokens, Timestamp};

use super::book::{Book, Due, SharedPlan, Terms};
use crate::server::quota::keyed::Keyed;
use crate::server::quota::plan::Plan;
use crate::server::quota::subject::Subject;
use crate::server::quota::table::{Decided, Slot, TakenFrom};

/// A part of the leases.
#[derive(Debug)]
pub(super) struct LeaseShard {
    books: Keyed<Book>,
    plans: Vec<SharedPlan>,
    max_lease: Option<u64>,
}

/// Keys that are looked at under one lock: about 0.1 ms. With a million keys, each is looked at once in eight seconds.
const MAX_SWEPT: usize = 1_024;

impl LeaseShard {
    pub(super) fn new(plans: &[Arc<Plan>], replicas: u32, max_lease: Option<u64>) -> Self {
        let plans = plans.iter().map(|plan| SharedPlan::new(plan, replicas, max_lease)).collect();
        Self { books: Keyed::new(), plans, max_lease }
    }

    pub(super) fn len(&self) -> usize {
        self.books.len()
    }

    /// Decides on a request; also the last claim of a key that was forgotten for it.
    pub(super) fn decide(
        &mut self,
        subject: &Subject,
        terms: &Terms,
        now: Timestamp,
        number: impl FnOnce() -> u64,
    ) -> (Decided, Option<Due>) {
        let hash = subject.slot.0;
        let mut forgotten = None;
        if self.books.get_mut(hash).is_none() {
            if self.books.len() >= terms.max {
                forgotten = self.forget();
            }
            if self.books.len() >= terms.max {
                // All that were looked at have requests in flight: there is no room for this one.
                let shared = &self.plans[subject.plan as usize];
                return (Book::new(subject, 0).without_room(shared), None);
            }
            self.books.insert(hash, Book::new(subject, number()));
        }
        let book = self.books.get_mut(hash).expect("inserted a line ago");
        let old = std::mem::replace(&mut book.plan, subject.plan) as usize;
        let shared = &self.plans[subject.plan as usize];
        if old != subject.plan as usize {
            book.share = shared.share.usage_after(&self.plans[old].share, &book.share, now);
        }
        (book.decide(shared, subject.cost, terms, now), forgotten)
    }

    /// The claim of a key, if one is due. `may_send`: whether that of a key may be sent now that fails, or does not.
    pub(super) fn claim(
        &mut self,
        slot: Slot,
        may_send: impl Fn(bool) -> bool,
        now: Timestamp,
    ) -> Option<Due> {
        let book = self.books.get_mut(slot.0).filter(|book| may_send(book.lease.is_failing()))?;
        let shared = &self.plans[book.plan as usize];
        shared.plan.quota.windows().next()?;
        book.lease.claim(&shared.lease, now).map(|claim| book.due(shared, claim))
    }

    /// The claims of keys that are not used any more; those that have said all are forgotten.
    pub(super) fn sweep(
        &mut self,
        may_send: impl Fn(bool) -> bool,
        now: Timestamp,
    ) -> Vec<(Slot, Due)> {
        let (mut due, mut idle) = (Vec::new(), Vec::new());
        for (hash, book) in self.books.some_mut(MAX_SWEPT) {
            let shared = &self.plans[book.plan as usize];
            if book.in_flight == 0 && book.is_idle(shared, now) {
                idle.push(hash);
            } else if may_send(book.lease.is_failing()) {
                let claim = book.lease.settle_idle();
                due.extend(claim.map(|claim| (Slot(hash), book.due(shared, claim))));
            }
        }
        for hash in idle {
            self.books.remove(hash);
        }
        due
    }

    /// The answer to a claim is late.
    pub(super) fn overdue(&mut self, slot: Slot, number: u64) {
        if let Some(book) = self.book(slot, number) {
            book.is_overdue = true;
        }
    }

    /// A claim was answered, or has failed.
    pub(super) fn answered(
        &mut self,
        slot: Slot,
        number: u64,
        claim: &Claim,
        grant: Option<Grant>,
        now: Timestamp,
    ) {
        if let Some(book) = self.book(slot, number) {
            book.answered(claim, grant, now);
        }
    }

    pub(super) fn settle(
        &mut self,
        subject: &Subject,
        taken: &mut TakenTokens,
        tokens: u64,
        now: Timestamp,
    ) {
        let Some(book) = self.books.get_mut(subject.slot.0) else { return };
        book.settle(&self.plans[book.plan as usize], subject.taken_from, taken, tokens, now);
    }

    pub(super) fn leave(&mut self, slot: Slot) {
        if let Some(book) = self.books.get_mut(slot.0) {
            book.in_flight = book.in_flight.saturating_sub(1);
        }
    }

    pub(super) fn peek(&mut self, slot: Slot) -> Option<Decided> {
        let book = self.books.get_mut(slot.0)?;
        let plan = Arc::clone(&self.plans[book.plan as usize].plan);
        Some(book.decided(QuotaDecision::Admit, TakenFrom::Quota, plan))
    }

    pub(super) fn set_plan(
        &mut self,
        position: u32,
        plan: &Arc<Plan>,
        replicas: u32,
        now: Timestamp,
    ) {
        let new = SharedPlan::new(plan, replicas, self.max_lease);
        let Some(old) = self.plans.get_mut(position as usize) else { return self.plans.push(new) };
        for (_, book) in self.books.iter_mut().filter(|(_, book)| book.plan == position) {
            book.share = new.share.usage_after(&old.share, &book.share, now);
        }
        *old = new;
    }

    pub(super) fn set_replicas(&mut self, replicas: u32, now: Timestamp) {
        for position in 0..self.plans.len() {
            let plan = Arc::clone(&self.plans[position].plan);
            self.set_plan(position as u32, &plan, replicas, now);
        }
    }

    /// What is known of a key, unless it was forgotten since this number was given.
    fn book(&mut self, slot: Slot, number: u64) -> Option<&mut Book> {
        self.books.get_mut(slot.0).filter(|book| book.number == number)
    }

    /// Forgets the key with the least to say of a few.
    fn forget(&mut self) -> Option<Due> {
        let rank = |book: &Book| (book.in_flight == 0).then(|| book.lease.balance().unsigned_abs());
        let mut book = self.books.remove_lowest(rank)?;
        let claim = book.lease.close()?;
        Some(book.due(&self.plans[book.plan as usize], claim))
    }
}
