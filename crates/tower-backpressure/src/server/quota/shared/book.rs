//! What a replica knows of one key, and its decisions on requests of it.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{
    Claim, Grant, Lease, LeaseDecision, LeaseSettings, MAX_WINDOWS, Quota, QuotaDecision,
    QuotaRejection, QuotaUsage, TakenTokens, Timestamp,
};

use super::options::OnStoreFailure;
use crate::server::quota::QuotaKey;
use crate::server::quota::plan::Plan;
use crate::server::quota::subject::Subject;
use crate::server::quota::table::{Decided, TakenFrom};

/// What is known of one key.
#[derive(Debug)]
pub(super) struct Book {
    key: QuotaKey,
    pub(super) number: u64,
    pub(super) plan: u32,
    pub(super) in_flight: u32,
    pub(super) lease: Lease,
    /// Whether the answer to a claim is late.
    pub(super) is_overdue: bool,
    /// Of the replica's share, all that was spent included: it is not full when the store begins to fail.
    pub(super) share: [QuotaUsage; MAX_WINDOWS],
    /// As the store has said it last.
    left: [u64; MAX_WINDOWS],
}

/// A plan, and what of it this replica may use by itself.
#[derive(Debug)]
pub(super) struct SharedPlan {
    pub(super) plan: Arc<Plan>,
    pub(super) share: Quota,
    pub(super) lease: LeaseSettings,
}

/// How requests are decided at present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) is_failing: bool,
    pub(super) retry_after: Duration,
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
/// Without a choice, a lease is this part of the smallest burst.
const LEASES_IN_BURST: u64 = 10;

impl SharedPlan {
    pub(super) fn new(plan: &Arc<Plan>, replicas: u32, max_lease: Option<u64>) -> Self {
        let bursts = plan.quota.windows().map(|window| window.burst());
        let tenth = bursts.min().map_or(1, |burst| burst / LEASES_IN_BURST);
        let lease = LeaseSettings::new(max_lease.unwrap_or(tenth));
        Self { plan: Arc::clone(plan), share: plan.quota.share(replicas), lease }
    }
}

impl Book {
    pub(super) fn new(subject: &Subject, number: u64) -> Self {
        Self {
            key: subject.key,
            number,
            plan: subject.plan,
            in_flight: 0,
            lease: Lease::default(),
            is_overdue: false,
            share: [QuotaUsage::default(); MAX_WINDOWS],
            left: [0; MAX_WINDOWS],
        }
    }

    pub(super) fn decide(
        &mut self,
        shared: &SharedPlan,
        cost: u64,
        terms: &Terms,
        now: Timestamp,
    ) -> Decided {
        let (decision, taken_from, awaits_store) = self.decide_tokens(shared, cost, terms, now);
        let is_limited = shared.plan.quota.max_in_flight().is_some();
        if is_limited && !matches!(decision, QuotaDecision::Reject(_)) {
            self.in_flight = self.in_flight.saturating_add(1);
        }
        let decided = self.decided(decision, taken_from, Arc::clone(&shared.plan));
        Decided { awaits_store, ..decided }
    }

    /// A request of a key for which there is no room.
    pub(super) fn without_room(&self, shared: &SharedPlan) -> Decided {
        let decision = reject(&shared.plan.quota, UNKNOWN_RETRY_AFTER);
        self.decided(decision, TakenFrom::Nothing, Arc::clone(&shared.plan))
    }

    /// The claim was answered, or has failed.
    pub(super) fn answered(&mut self, claim: &Claim, grant: Option<Grant>, now: Timestamp) {
        self.is_overdue = false;
        match grant {
            Some(grant) => {
                self.lease.granted(claim, grant, now);
                self.left = grant.remaining;
            }
            None => self.lease.failed(now),
        }
    }

    /// A request that had taken some tokens has cost others.
    pub(super) fn settle(
        &mut self,
        shared: &SharedPlan,
        taken_from: TakenFrom,
        taken: &mut TakenTokens,
        tokens: u64,
        now: Timestamp,
    ) {
        match taken_from {
            TakenFrom::Quota => {
                // The store forgives more than a full bucket and the debt, and its sums have to stay exact.
                let windows = shared.plan.quota.windows();
                let most = windows.map(|it| it.burst() + it.max_debt()).max();
                self.lease.settle(taken, tokens.min(most.unwrap_or(tokens)));
            }
            TakenFrom::Share => {
                shared.share.settle(&mut self.share, taken, tokens, now);
            }
            TakenFrom::Nothing => {}
        }
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
        let is_failing = terms.is_failing || self.is_overdue || self.lease.is_failing();
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

    pub(super) fn decided(
        &self,
        decision: QuotaDecision,
        taken_from: TakenFrom,
        plan: Arc<Plan>,
    ) -> Decided {
        let held = u64::try_from(self.lease.balance()).unwrap_or(0);
        let left = self.left.map(|left| left.saturating_add(held));
        let decided = Decided::new(decision, self.share, self.in_flight, plan);
        Decided { left: Some(left), taken_from, ..decided }
    }

    /// A key in this state cannot be told from a new one.
    pub(super) fn is_idle(&self, shared: &SharedPlan, now: Timestamp) -> bool {
        self.lease.is_idle() && shared.share.full_in(&self.share, now).is_zero()
    }

    pub(super) fn due(&self, shared: &SharedPlan, claim: Claim) -> Due {
        let is_failing = self.lease.is_failing();
        Due { key: self.key, quota: shared.plan.quota, book: self.number, claim, is_failing }
    }
}

/// All windows are given as exceeded: which of them it was, the store does not say.
fn reject(quota: &Quota, retry_after: Duration) -> QuotaDecision {
    QuotaDecision::Reject(QuotaRejection::in_all_windows(quota, retry_after))
}
