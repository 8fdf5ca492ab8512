//! A lease: the tokens that one replica holds of a quota that it shares with others.

use std::time::Duration;

use super::{MAX_WINDOWS, TakenTokens};
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// The tokens of one key that this replica holds, so that a request needs no round trip to the store of the quota.
///
/// Replica and store exchange *claims*: how many tokens the replica has taken since it began, in all. Such a number
/// can be said twice, late or not at all, and is never counted twice:
///
/// ```text
/// claimed   tokens that the store has debited for this replica, in all
/// spent     tokens that requests have taken here, in all
/// balance   claimed − spent: what is left of the lease; below 0 the replica owes the store
/// ```
///
/// A request that finds the lease empty may overdraw it, by up to a lease: the next claim debits it. So all replicas
/// together admit at most the quota and a lease each.
///
/// ```
/// use backpressure_core::{Grant, Lease, LeaseDecision, LeaseSettings, Timestamp};
///
/// let (settings, now) = (LeaseSettings::new(10), Timestamp::ZERO);
/// let mut lease = Lease::default();
/// assert_eq!(lease.decide(1, &settings, now), LeaseDecision::Admit);
/// let claim = lease.claim(&settings, now).expect("nothing is held");
/// // The store has debited what was spent, and all that was asked for beside it.
/// lease.granted(&claim, Grant::new(claim.wanted), now);
/// assert_eq!(lease.balance(), i128::from(claim.wanted) - 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Lease {
    claimed: u64,
    spent: u64,
    /// What requests were settled for beyond their reservations, in all.
    excess: i64,
    /// The most that was ever asked for: a store that says more is wrong.
    asked: u64,
    /// Whether a claim is on its way.
    is_pending: bool,
    /// Whether a claim was sent that may have been heard, and was not answered.
    is_uncertain: bool,
    /// Whether the store had less than was asked for.
    was_short: bool,
    /// Claims in a row that have failed.
    failures: u8,
    /// Until when the store has nothing.
    blocked_until: Timestamp,
    /// The tokens of the most expensive request that found too few.
    needed: u64,
    /// The tokens of all requests that found too few, up to a lease.
    demand: u64,
    /// How many to hold; 0: not known yet.
    size: u64,
    /// When a claim was answered last, and what was spent by then.
    heard: Timestamp,
    spent_when_heard: u64,
    /// Whether a request has asked since the last look.
    is_used: bool,
}

/// How large leases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    max: u64,
}

/// What a replica tells the store of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// What the replica thinks the store has debited for it so far. A store that does not know the replica starts
    /// from here.
    pub base: u64,
    /// What was spent. It is debited in any case, in debt if need be.
    pub spent: u64,
    /// The part of `spent` by which requests were settled for more than they had reserved. Where it falls, such a
    /// settlement was corrected: what a window had forgiven of it, up to the fall, is not given back. It is below 0
    /// where a request is corrected that was settled in an earlier book.
    pub excess: i64,
    /// What the replica wants to have claimed in all. Below `base`, it gives the rest back.
    pub wanted: u64,
    /// How many more are of use: the cost of a request that waits for them, or one.
    pub least: u64,
}

/// What the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The tokens that are debited for this replica now, in all.
    pub claimed: u64,
    /// When there are the tokens that it did not get; zero if it got all.
    pub retry_after: Duration,
    /// What is left in each window of the quota, in their order; for what clients are told.
    pub remaining: [u64; MAX_WINDOWS],
    /// How many replicas use the quota; 0: unknown.
    pub replicas: u32,
}

/// What a lease says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum LeaseDecision {
    /// It runs, and its tokens are taken.
    Admit,
    /// The quota of all replicas is used up for this long.
    Exhausted(Duration),
    /// The lease is overdrawn, and the store has not said yet whether there is more.
    Unknown,
}

/// A lease lasts for about this long at the present rate: a claim is sent when half of it is spent, ten times a second.
/// A shorter one costs more round trips, a longer one leaves more tokens where they are not needed.
const HORIZON: Duration = Duration::from_millis(200);
/// Between an answer that granted too little and the next claim there is at least this time, so that a key that is used
/// up costs at most twenty round trips a second. What comes back meanwhile is then granted at once.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// After so many failures in a row the store cannot be asked for the key: see [`Lease::is_failing`].
const MAX_FAILURES: u8 = 3;
/// The pause after a failure is doubled with each further one, up to 32 times the shortest: 1.6 s.
const MAX_DOUBLINGS: u8 = 5;
/// The shortest time over which a rate is estimated.
const MIN_SPAN: Duration = Duration::from_millis(10);
/// A lease that is four times too large is given back after this time.
const MAX_EXCESS: Duration = Duration::from_secs(1);

impl LeaseSettings {
    /// A lease of at most this many tokens.
    #[must_use]
    pub const fn new(max: u64) -> Self {
        Self { max: if max == 0 { 1 } else { max } }
    }
}

impl Claim {
    /// A claim of a replica that has spent this much and wants this much, in all; for the tests of a store.
    #[must_use]
    pub const fn new(base: u64, spent: u64, wanted: u64) -> Self {
        Self { base, spent, excess: 0, wanted, least: 1 }
    }

    /// The same claim, in which this much of what was spent is beyond what requests had reserved.
    #[must_use]
    pub const fn excess(mut self, excess: i64) -> Self {
        self.excess = excess;
        self
    }
}

impl Grant {
    /// All of it is granted: this many tokens are debited in all.
    #[must_use]
    pub const fn new(claimed: u64) -> Self {
        let remaining = [0; MAX_WINDOWS];
        Self { claimed, retry_after: Duration::ZERO, remaining, replicas: 0 }
    }

    /// The same, where there are too few tokens for this long.
    #[must_use]
    pub const fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The same, with what is left in each window.
    #[must_use]
    pub const fn remaining(mut self, remaining: [u64; MAX_WINDOWS]) -> Self {
        self.remaining = remaining;
        self
    }

    /// The same, for a quota that this many replicas use.
    #[must_use]
    pub const fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }
}

impl Lease {
    /// Decides on a request that costs this many tokens.
    pub fn decide(&mut self, cost: u64, settings: &LeaseSettings, now: Timestamp) -> LeaseDecision {
        self.is_used = true;
        let after = self.spent.saturating_add(cost);
        if after <= self.claimed {
            self.spent = after;
            return LeaseDecision::Admit;
        }
        self.needed = self.needed.max(cost);
        self.demand = self.demand.saturating_add(cost).min(settings.max);
        if now < self.blocked_until {
            return LeaseDecision::Exhausted(self.blocked_until.since(now));
        }
        if after <= self.claimed.saturating_add(settings.max) {
            self.spent = after;
            return LeaseDecision::Admit;
        }
        LeaseDecision::Unknown
    }

    /// Takes tokens that are held, and overdraws nothing: while the store cannot be asked.
    pub fn take_held(&mut self, cost: u64, now: Timestamp) -> LeaseDecision {
        let overdraft = LeaseSettings { max: 0 };
        self.decide(cost, &overdraft, now)
    }

    /// A request that had taken some tokens has cost others.
    pub fn settle(&mut self, taken: &mut TakenTokens, tokens: u64) {
        let before = taken.settle(tokens);
        self.spent = self.spent.saturating_sub(before).saturating_add(tokens);
        let excess = |tokens| i64::try_from(taken.beyond_reserved(tokens)).unwrap_or(i64::MAX);
        self.excess = self.excess.saturating_add(excess(tokens)).saturating_sub(excess(before));
    }

    /// The claim to send now, if one is due. Until it is answered or has failed, there is no other.
    pub fn claim(&mut self, settings: &LeaseSettings, now: Timestamp) -> Option<Claim> {
        if self.is_pending || now < self.blocked_until || now < self.heard + self.pause() {
            return None;
        }
        let size = self.next_size(settings, now);
        let held = self.claimed.saturating_sub(self.spent);
        let is_far_too_much = held > size.saturating_mul(4) && now >= self.heard + MAX_EXCESS;
        if held > size / 2 && held >= self.needed && !is_far_too_much {
            return None;
        }
        self.size = size;
        // What is given back is not used any more, whether or not the store hears of it.
        self.claimed = self.claimed.min(self.spent.saturating_add(size.max(self.needed)));
        let least = std::mem::take(&mut self.needed).max(1);
        let demand = std::mem::take(&mut self.demand);
        Some(self.send(self.spent.saturating_add(size.max(least).max(demand)), least))
    }

    /// The claim that gives back what is held, or debits what is owed, when no request has asked since the last time
    /// this was called.
    pub fn settle_idle(&mut self) -> Option<Claim> {
        let is_used = std::mem::take(&mut self.is_used);
        if is_used || self.is_pending || self.is_settled() {
            return None;
        }
        self.size = 0;
        // What is given back is not used any more, whether or not the store hears of it.
        self.claimed = self.claimed.min(self.spent);
        Some(self.send(self.spent, 0))
    }

    /// The last claim of a lease that is forgotten: gives back what is held, or debits what is owed.
    pub fn close(&mut self) -> Option<Claim> {
        let is_settled = self.is_settled();
        self.claimed = self.claimed.min(self.spent);
        (!is_settled).then(|| self.send(self.spent, 0))
    }

    /// Whether nothing is held, owed or on its way.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        !self.is_used && !self.is_pending && self.is_settled()
    }

    const fn is_settled(&self) -> bool {
        self.claimed == self.spent && !self.is_uncertain
    }

    /// The claim was answered. An answer that no claim can have is brought into bounds: a store that is wrong can
    /// neither mint tokens here nor lock a tenant out for ever.
    pub fn granted(&mut self, claim: &Claim, grant: Grant, now: Timestamp) {
        let least = claim.base.min(claim.wanted.max(claim.spent));
        let most = self.asked.max(claim.spent).max(claim.base);
        self.claimed = grant.claimed.clamp(least, most);
        self.blocked_until = now + grant.retry_after;
        self.was_short = !grant.retry_after.is_zero();
        self.failures = 0;
        (self.heard, self.spent_when_heard) = (now, self.spent);
        (self.is_pending, self.is_uncertain) = (false, false);
        // What was asked for has been answered; later answers to it are ignored by the store.
        self.asked = self.claimed.max(1);
    }

    /// The claim was not answered.
    pub fn failed(&mut self, now: Timestamp) {
        (self.heard, self.spent_when_heard) = (now, self.spent);
        self.failures = self.failures.saturating_add(1);
        self.is_pending = false;
    }

    /// Whether the store cannot be asked for this key, although it may answer for others: a cluster has lost the node
    /// of the key, or the key holds something else.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.failures >= MAX_FAILURES
    }

    /// The time from the last answer or failure to the next claim.
    fn pause(&self) -> Duration {
        match (self.failures, self.was_short) {
            (0, false) => Duration::ZERO,
            (failures, _) => MIN_PAUSE * (1 << failures.saturating_sub(1).min(MAX_DOUBLINGS)),
        }
    }

    /// What is left of the lease; below zero it is overdrawn.
    #[must_use]
    pub fn balance(&self) -> i128 {
        i128::from(self.claimed) - i128::from(self.spent)
    }

    fn send(&mut self, wanted: u64, least: u64) -> Claim {
        self.asked = self.asked.max(wanted).max(1);
        (self.is_pending, self.is_uncertain) = (true, true);
        Claim { base: self.claimed, spent: self.spent, excess: self.excess, wanted, least }
    }

    /// What the requests of [`HORIZON`] need, at the rate since the last answer. It falls by half in that time.
    fn next_size(&self, settings: &LeaseSettings, now: Timestamp) -> u64 {
        let quarter = (settings.max / 4).max(1);
        if self.asked == 0 {
            return quarter;
        }
        let elapsed = now.since(self.heard).max(MIN_SPAN).as_nanos();
        let spent = u128::from(self.spent.saturating_sub(self.spent_when_heard));
        let needed = (spent * HORIZON.as_nanos()).div_ceil(elapsed);
        let halvings = (elapsed / HORIZON.as_nanos()).min(62) as u32 + 1;
        let needed = u64::try_from(needed).unwrap_or(u64::MAX);
        needed.max(self.size >> halvings).clamp(1, settings.max)
    }
}
