//! A part of the leases, under one lock.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{
    Claim, Grant, Lease, LeaseDecision, LeaseSettings, MAX_WINDOWS, Quota, QuotaDecision,
    QuotaRejection, QuotaUsage, TakenTokens, Timestamp,
};

use super::options::OnStoreFailure;
use crate::server::quota::QuotaKey;
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

/// A plan, and what of it this replica may use by itself.
#[derive(Debug)]
struct SharedPlan {
    plan: Arc<Plan>,
    share: Quota,
    lease: LeaseSettings,
}

/// What is known of one key.
#[derive(Debug)]
struct Book {
    key: QuotaKey,
    number: u64,
    plan: u32,
    in_flight: u32,
    lease: Lease,
    /// Of the replica's share, all that was spent included: it is not full when the store begins to fail.
    share: [QuotaUsage; MAX_WINDOWS],
    /// As the store has said it last.
    left: [u64; MAX_WINDOWS],
}

/// How requests are decided at present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) is_failing: bool,
    pub(super) retry_after: Duration,
    pub(super) patience: Duration,
    pub(super) on_failure: OnStoreFailure,
    /// How many keys are kept here.
    pub(super) max: usize,
}

/// A claim that is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) key: QuotaKey,
    pub(super) quota: Quota,
    pub(super) book: u64,
    pub(super) claim: Claim,
    /// Whether the claims of this key fail, whatever becomes of those of others.
    pub(super) is_failing: bool,
}

/// When a request is told to come back that found its lease overdrawn, before the store has said whether there is more.
const UNKNOWN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Keys that are looked at under one lock: about 0.1 ms. With a million keys, each is looked at once in eight seconds.
const MAX_SWEPT: usize = 1_024;
/// Without a choice, a lease is this part of the smallest burst.
const LEASES_IN_BURST: u64 = 10;

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
                forgotten = self.forget(now);
            }
            if self.books.len() >= terms.max {
                // All that were looked at have requests in flight: there is no room for this one.
                let shared = &self.plans[subject.plan as usize];
                let decision = reject(&shared.plan.quota, UNKNOWN_RETRY_AFTER);
                let plan = Arc::clone(&shared.plan);
                return (Book::new(subject, 0).decided(decision, TakenFrom::Nothing, plan), None);
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
                let claim = book.lease.settle_idle(now);
                due.extend(claim.map(|claim| (Slot(hash), book.due(shared, claim))));
            }
        }
        for hash in idle {
            self.books.remove(hash);
        }
        due
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
        let Some(book) = self.books.get_mut(slot.0).filter(|book| book.number == number) else {
            return;
        };
        match grant {
            Some(grant) => {
                book.lease.granted(claim, grant, now);
                book.left = grant.remaining;
            }
            None => book.lease.failed(now),
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
        let SharedPlan { plan, share, .. } = &self.plans[book.plan as usize];
        match subject.taken_from {
            TakenFrom::Quota => {
                // The store forgives more than a full bucket and the debt, and its sums have to stay exact.
                let most = plan.quota.windows().map(|it| it.burst() + it.max_debt()).max();
                book.lease.settle(taken, tokens.min(most.unwrap_or(tokens)));
            }
            TakenFrom::Share => {
                share.settle(&mut book.share, taken, tokens, now);
            }
            TakenFrom::Nothing => {}
        }
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

    /// Forgets the key with the least to say of a few.
    fn forget(&mut self, now: Timestamp) -> Option<Due> {
        let rank = |book: &Book| (book.in_flight == 0).then(|| book.lease.balance().unsigned_abs());
        let mut book = self.books.remove_lowest(rank)?;
        let claim = book.lease.close(now)?;
        Some(book.due(&self.plans[book.plan as usize], claim))
    }
}

impl SharedPlan {
    fn new(plan: &Arc<Plan>, replicas: u32, max_lease: Option<u64>) -> Self {
        let bursts = plan.quota.windows().map(|window| window.burst());
        let tenth = bursts.min().map_or(1, |burst| burst / LEASES_IN_BURST);
        let lease = LeaseSettings::new(max_lease.unwrap_or(tenth));
        Self { plan: Arc::clone(plan), share: plan.quota.share(replicas), lease }
    }
}

impl Book {
    fn new(subject: &Subject, number: u64) -> Self {
        Self {
            key: subject.key,
            number,
            plan: subject.plan,
            in_flight: 0,
            lease: Lease::default(),
            share: [QuotaUsage::default(); MAX_WINDOWS],
            left: [0; MAX_WINDOWS],
        }
    }

    fn decide(&mut self, shared: &SharedPlan, cost: u64, terms: &Terms, now: Timestamp) -> Decided {
        let (decision, taken_from, awaits_store) = self.decide_tokens(shared, cost, terms, now);
        let is_limited = shared.plan.quota.max_in_flight().is_some();
        if is_limited && !matches!(decision, QuotaDecision::Reject(_)) {
            self.in_flight = self.in_flight.saturating_add(1);
        }
        let decided = self.decided(decision, taken_from, Arc::clone(&shared.plan));
        Decided { awaits_store, ..decided }
    }

    /// The decision, where the tokens were taken, and whether the store may still have some.
    fn decide_tokens(
        &mut self,
        shared: &SharedPlan,
        cost: u64,
        terms: &Terms,
        now: Timestamp,
    ) -> (QuotaDecision, TakenFrom, bool) {
        let quota = &shared.plan.quota;
        // Too many at once, or more than a burst: the tokens do not matter, and are not taken.
        let full = &mut [QuotaUsage::default(); MAX_WINDOWS];
        let alone = quota.decide(full, self.in_flight, cost, now);
        if matches!(alone, QuotaDecision::Reject(_)) || quota.windows().next().is_none() {
            return (alone, TakenFrom::Quota, false);
        }
        let has_waited = self.lease.pending_for(now).is_some_and(|time| time > terms.patience);
        let is_failing = terms.is_failing || has_waited || self.lease.is_failing();
        let decision = match is_failing {
            true => self.lease.take_held(cost, now),
            false => self.lease.decide(cost, &shared.lease, now),
        };
        match decision {
            LeaseDecision::Admit => {
                shared.share.settle(&mut self.share, &mut TakenTokens::of(0), cost, now);
                (QuotaDecision::Admit, TakenFrom::Quota, false)
            }
            LeaseDecision::Exhausted(wait) => (reject(quota, wait), TakenFrom::Quota, false),
            LeaseDecision::Unknown if !is_failing => {
                (reject(quota, UNKNOWN_RETRY_AFTER), TakenFrom::Quota, true)
            }
            LeaseDecision::Unknown => {
                let (decision, taken_from) = self.decide_alone(shared, cost, terms, now);
                (decision, taken_from, false)
            }
        }
    }

    /// The store cannot be asked.
    fn decide_alone(
        &mut self,
        shared: &SharedPlan,
        cost: u64,
        terms: &Terms,
        now: Timestamp,
    ) -> (QuotaDecision, TakenFrom) {
        match terms.on_failure {
            OnStoreFailure::LocalShare => {
                let decision = shared.share.decide(&mut self.share, self.in_flight, cost, now);
                (decision, TakenFrom::Share)
            }
            OnStoreFailure::Open => (QuotaDecision::Admit, TakenFrom::Nothing),
            OnStoreFailure::Closed => {
                (reject(&shared.plan.quota, terms.retry_after), TakenFrom::Nothing)
            }
        }
    }

    fn decided(&self, decision: QuotaDecision, taken_from: TakenFrom, plan: Arc<Plan>) -> Decided {
        let held = u64::try_from(self.lease.balance()).unwrap_or(0);
        let left = self.left.map(|left| left.saturating_add(held));
        let decided = Decided::new(decision, self.share, self.in_flight, plan);
        Decided { left: Some(left), taken_from, ..decided }
    }

    /// A key in this state cannot be told from a new one.
    fn is_idle(&self, shared: &SharedPlan, now: Timestamp) -> bool {
        self.lease.is_idle() && shared.share.full_in(&self.share, now).is_zero()
    }

    fn due(&self, shared: &SharedPlan, claim: Claim) -> Due {
        let is_failing = self.lease.is_failing();
        Due { key: self.key, quota: shared.plan.quota, book: self.number, claim, is_failing }
    }
}

/// All windows are given as exceeded: which of them it was, the store does not say.
fn reject(quota: &Quota, retry_after: Duration) -> QuotaDecision {
    QuotaDecision::Reject(QuotaRejection::in_all_windows(quota, retry_after))
}
