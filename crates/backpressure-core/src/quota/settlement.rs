//! What a request has cost in the end, where that is known after it was admitted.

use super::{MAX_WINDOWS, Quota, QuotaUsage};
use crate::time::Timestamp;

/// The tokens that one request has taken of each window: as many as it has reserved, until it is
/// [settled](Quota::settle).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenTokens {
    of_windows: [u64; MAX_WINDOWS],
    reserved: u64,
}

impl TakenTokens {
    /// Those of a request that was admitted for this many tokens.
    ///
    /// ```
    /// use backpressure_core::{Quota, QuotaUsage, TakenTokens, Timestamp};
    ///
    /// let quota = Quota::per_minute(1_000).max_debt(500);
    /// let (mut usage, now) = ([QuotaUsage::default()], Timestamp::ZERO);
    /// let mut taken = TakenTokens::of(0);
    /// // A wrong report is corrected later: only what was taken is given back.
    /// assert_eq!(quota.settle(&mut usage, &mut taken, 1_000_000, now), 998_500);
    /// assert_eq!(quota.settle(&mut usage, &mut taken, 100, now), 0);
    /// assert_eq!(quota.standing(&usage, now).next().map(|it| it.remaining), Some(900));
    /// ```
    #[must_use]
    pub const fn of(tokens: u64) -> Self {
        Self { of_windows: [tokens; MAX_WINDOWS], reserved: tokens }
    }

    /// Replaces what was taken where nothing is forgiven; what it was before.
    pub(super) const fn settle(&mut self, tokens: u64) -> u64 {
        let [before, ..] = std::mem::replace(&mut self.of_windows, [tokens; MAX_WINDOWS]);
        before
    }

    /// How many of this many tokens are beyond those that were reserved.
    pub(super) const fn beyond_reserved(&self, tokens: u64) -> u64 {
        tokens.saturating_sub(self.reserved)
    }
}

impl Quota {
    /// A request that was admitted has cost this many tokens. Returns how many tokens were forgiven, in the window that
    /// has forgiven most, since the tenant owes as many as it may.
    ///
    /// `taken` is what it has taken so far, and is what it has taken then: where it is settled again, what was forgiven
    /// is not given back. What is given back never fills a bucket beyond its burst.
    ///
    /// ```
    /// use backpressure_core::{Quota, QuotaUsage, TakenTokens, Timestamp};
    ///
    /// let quota = Quota::per_minute(1_000);
    /// let (mut usage, now) = ([QuotaUsage::default()], Timestamp::ZERO);
    /// let _ = quota.decide(&mut usage, 0, 400, now);
    /// quota.settle(&mut usage, &mut TakenTokens::of(400), 150, now);
    /// assert_eq!(quota.standing(&usage, now).next().map(|it| it.remaining), Some(850));
    /// ```
    pub fn settle(
        &self,
        usage: &mut [QuotaUsage],
        taken: &mut TakenTokens,
        actual: u64,
        now: Timestamp,
    ) -> u64 {
        let mut forgiven = 0;
        let windows = self.windows().zip(usage.iter_mut()).zip(&mut taken.of_windows);
        for ((window, usage), taken) in windows {
            let missing = actual.saturating_sub(*taken);
            if missing == 0 {
                usage.give_back(window, *taken - actual, now);
                *taken = actual;
            } else {
                let more = missing.min(usage.room_for_debt(window, now));
                usage.take(window, more, now);
                *taken += more;
                forgiven = forgiven.max(missing - more);
            }
        }
        forgiven
    }
}
