//! Quotas: how much one tenant may use in a time, and how much at once.

use std::time::Duration;

use crate::time::Timestamp;

mod decision;
mod invalid;
mod lease;
mod settlement;
#[cfg(test)]
mod tests;
mod window;

pub use self::decision::{QuotaDecision, QuotaRejection, Violated};
pub use self::invalid::InvalidQuota;
use self::invalid::valid;
pub use self::lease::{Claim, Grant, Lease, LeaseDecision, LeaseSettings};
pub use self::settlement::TakenTokens;
pub use self::window::{QuotaUsage, QuotaWindow, Standing};

/// How much one tenant may use: tokens in one window of time or several, and requests at once.
///
/// A request costs a token, or as many as it is said to cost. Each window is a token bucket (the generic cell
/// rate algorithm, GCRA): it holds up to [`burst`](Self::burst) tokens, and gains its tokens evenly over its
/// period. In any span of time `t` a tenant gets at most `burst + tokens · t / period`. The bucket of a new
/// tenant is full.
///
/// A request needs tokens in all windows; a request that one of them rejects takes tokens from none.
///
/// ```
/// use backpressure_core::{Quota, QuotaDecision, QuotaUsage, Timestamp};
/// use std::time::Duration;
///
/// // Ten a second, and a thousand a day.
/// let quota = Quota::per_second(10).and(Quota::per_day(1_000));
/// let mut usage = [QuotaUsage::default(); 2];
/// let now = Timestamp::ZERO;
/// for _ in 0..10 {
///     assert_eq!(quota.decide(&mut usage, 0, 1, now), QuotaDecision::Admit);
/// }
/// let QuotaDecision::Reject(rejection) = quota.decide(&mut usage, 0, 1, now) else { panic!() };
/// assert_eq!(rejection.retry_after, Duration::from_millis(100));
/// assert!(rejection.violated.window(0) && !rejection.violated.window(1));
/// ```
///
/// | option | default | why |
/// |---|---|---|
/// | [`burst`](Self::burst) | the tokens of the window | a tenant that was idle for a window may use all of it at once |
/// | [`max_debt`](Self::max_debt) | the burst | a request that cost more than it reserved delays the next ones, and not for ever |
/// | [`smooth`](Self::smooth) | no delay | a rejection is cheaper than a request that waits |
///
/// Arithmetic is exact: no rate is rounded. A window of one tenant takes 16 bytes, a [`QuotaUsage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    windows: [Option<QuotaWindow>; MAX_WINDOWS],
    /// `None`: any number.
    max_in_flight: Option<u32>,
    max_delay: Duration,
}

/// The highest number of windows of a [`Quota`]: a second, a minute, a day and a month are four. Each takes
/// 16 bytes a tenant, and a fifth of the time of a decision.
pub const MAX_WINDOWS: usize = 4;

/// The most tokens of a window or a burst: what an integer of a structured field can say (RFC 9651, section 3.3.1).
pub const MAX_TOKENS: u64 = 999_999_999_999_999;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Quota {
    /// This many tokens a second.
    ///
    /// # Panics
    /// When `tokens` is not in 1..=[`MAX_TOKENS`].
    #[must_use]
    pub fn per_second(tokens: u64) -> Self {
        Self::per(tokens, SECOND)
    }

    /// This many tokens a minute.
    ///
    /// # Panics
    /// When `tokens` is not in 1..=[`MAX_TOKENS`].
    #[must_use]
    pub fn per_minute(tokens: u64) -> Self {
        Self::per(tokens, MINUTE)
    }

    /// This many tokens an hour.
    ///
    /// # Panics
    /// When `tokens` is not in 1..=[`MAX_TOKENS`].
    #[must_use]
    pub fn per_hour(tokens: u64) -> Self {
        Self::per(tokens, HOUR)
    }

    /// This many tokens in 24 hours. They come back evenly, and not at midnight: at midnight all tenants would
    /// return at once.
    ///
    /// # Panics
    /// When `tokens` is not in 1..=[`MAX_TOKENS`].
    #[must_use]
    pub fn per_day(tokens: u64) -> Self {
        Self::per(tokens, DAY)
    }

    /// This many tokens in each period.
    ///
    /// # Panics
    /// When `tokens` is not in 1..=[`MAX_TOKENS`], or `period` not from a microsecond to ten years.
    #[must_use]
    pub fn per(tokens: u64, period: Duration) -> Self {
        valid(Self::unlimited().try_with(valid(QuotaWindow::try_new(tokens, period))))
    }

    /// This many requests at once, from the call to the end of the response.
    ///
    /// # Panics
    /// When `requests` is 0.
    #[must_use]
    pub fn concurrent(requests: u32) -> Self {
        assert!(requests > 0, "concurrent requests must be in 1..=4294967295");
        Self { max_in_flight: Some(requests), ..Self::unlimited() }
    }

    /// No limit at all, for a plan that has none.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { windows: [None; MAX_WINDOWS], max_in_flight: None, max_delay: Duration::ZERO }
    }

    /// Both quotas at once.
    ///
    /// ```
    /// use backpressure_core::Quota;
    ///
    /// let quota = Quota::per_minute(600).burst(20).and(Quota::per_day(10_000)).and(Quota::concurrent(8));
    /// assert_eq!(quota.windows().count(), 2);
    /// ```
    ///
    /// # Panics
    /// When there are more than four windows, or two with the same period.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for window in other.windows() {
            self = valid(self.try_with(*window));
        }
        self.max_in_flight = self.max_in_flight.into_iter().chain(other.max_in_flight).min();
        self.max_delay = self.max_delay.max(other.max_delay);
        self
    }

    /// The tokens that the last window holds at most.
    ///
    /// # Panics
    /// When `tokens` is not in 1..=[`MAX_TOKENS`], or there is no window.
    #[must_use]
    pub fn burst(mut self, tokens: u64) -> Self {
        let last = self.last("burst");
        *last = valid(last.try_burst(tokens));
        self
    }

    /// How many tokens beyond those it had a tenant may owe in the last window, because requests cost more than
    /// they had reserved. What they cost beyond that is forgiven.
    ///
    /// # Panics
    /// When `tokens` is above [`MAX_TOKENS`], or there is no window.
    #[must_use]
    pub fn max_debt(mut self, tokens: u64) -> Self {
        let last = self.last("max_debt");
        *last = valid(last.try_max_debt(tokens));
        self
    }

    /// Delays a request for up to this long until there are tokens for it, instead of rejecting it: a leaky
    /// bucket. A tenant is then served at an even rate.
    #[must_use]
    pub const fn smooth(mut self, max_delay: Duration) -> Self {
        self.max_delay = max_delay;
        self
    }

    /// The windows, in the order in which they were named.
    pub fn windows(&self) -> impl Iterator<Item = &QuotaWindow> {
        self.windows.iter().flatten()
    }

    /// How many requests at once; `None`: any number.
    #[must_use]
    pub const fn max_in_flight(&self) -> Option<u32> {
        self.max_in_flight
    }

    /// How long a request may be delayed.
    #[must_use]
    pub const fn max_delay(&self) -> Duration {
        self.max_delay
    }

    /// Decides on a request that costs this many tokens, and takes them if it is admitted or delayed.
    ///
    /// `usage` has the state of each window; `in_flight` is the number of requests of the tenant that run.
    /// `now` comes from a clock that is never set back.
    pub fn decide(
        &self,
        usage: &mut [QuotaUsage],
        in_flight: u32,
        cost: u64,
        now: Timestamp,
    ) -> QuotaDecision {
        let mut violated = Violated::default();
        let (mut wait, mut is_possible) = (Duration::ZERO, true);
        for (index, (window, usage)) in self.windows().zip(usage.iter()).enumerate() {
            let for_window = window.wait(*usage, cost, now);
            if !for_window.is_zero() {
                violated.add_window(index);
                wait = wait.max(for_window);
            }
            is_possible &= cost <= window.burst();
        }
        let is_crowded = self.max_in_flight.is_some_and(|max| in_flight >= max);
        if is_crowded {
            violated.add_in_flight();
        }
        if is_crowded || !is_possible || wait > self.max_delay {
            let rejection = QuotaRejection { retry_after: wait, violated, is_possible };
            return QuotaDecision::Reject(rejection);
        }
        for (window, usage) in self.windows().zip(usage.iter_mut()) {
            usage.take(window, cost, now);
        }
        if wait.is_zero() { QuotaDecision::Admit } else { QuotaDecision::Delay(wait) }
    }

    /// How each window stands.
    pub fn standing(&self, usage: &[QuotaUsage], now: Timestamp) -> impl Iterator<Item = Standing> {
        let standing =
            move |(window, usage): (&QuotaWindow, &QuotaUsage)| window.standing(*usage, now);
        self.windows().zip(usage).map(standing)
    }

    /// How long until all buckets are full: a tenant in this state cannot be told from a new one.
    #[must_use]
    pub fn full_in(&self, usage: &[QuotaUsage], now: Timestamp) -> Duration {
        let waits = self.windows().zip(usage).map(|(window, usage)| window.full_in(*usage, now));
        waits.max().unwrap_or_default()
    }

    /// The usage under this quota of a tenant that had another one until now.
    ///
    /// What a tenant has used stays used, and the tokens of a window come back at the new rate from now on. So a change
    /// of numbers there and back changes nothing, and mints no tokens. A tenant may owe more than
    /// [`max_debt`](Self::max_debt) after a change to a much smaller quota. A window takes over what was used in the
    /// window of the same period, or else in the first window of the other quota that is left. What was used in a window
    /// that no other takes over is forgotten, as by a change to [`unlimited`](Self::unlimited): its bucket is full when
    /// it is added again.
    ///
    /// ```
    /// use backpressure_core::{Quota, QuotaUsage, Timestamp};
    ///
    /// let (small, large) = (Quota::per_day(10), Quota::per_day(100));
    /// let (mut usage, now) = ([QuotaUsage::default(); 4], Timestamp::ZERO);
    /// let _ = small.decide(&mut usage, 0, 7, now);
    /// let usage = large.usage_after(&small, &usage, now);
    /// assert_eq!(large.standing(&usage, now).next().map(|it| it.remaining), Some(93));
    /// ```
    #[must_use]
    pub fn usage_after(
        &self,
        other: &Self,
        usage: &[QuotaUsage],
        now: Timestamp,
    ) -> [QuotaUsage; MAX_WINDOWS] {
        let mut left = [None; MAX_WINDOWS];
        for (slot, old) in left.iter_mut().zip(other.windows().zip(usage)) {
            *slot = Some(old);
        }
        let mut sources = [None; MAX_WINDOWS];
        for (window, source) in self.windows().zip(&mut sources) {
            let has_same_period = |old: &&mut Option<(&QuotaWindow, _)>| {
                old.is_some_and(|(old, _)| old.period() == window.period())
            };
            let same = left.iter_mut().find(has_same_period);
            *source = same.and_then(Option::take);
        }
        let mut new = [QuotaUsage::default(); MAX_WINDOWS];
        for ((window, source), new) in self.windows().zip(sources).zip(&mut new) {
            let source = source.or_else(|| left.iter_mut().find_map(Option::take));
            if let Some((old, usage)) = source {
                *new = usage.under(old, window, now);
            }
        }
        new
    }

    /// One of this many equal shares: the same windows, with tokens that come back as much slower and a burst that is
    /// as much smaller, and no debt.
    #[must_use]
    pub fn share(mut self, of: u32) -> Self {
        for window in self.windows.iter_mut().flatten() {
            window.divide(of.max(1));
        }
        self
    }

    fn last(&mut self, option: &str) -> &mut QuotaWindow {
        let last = self.windows.iter_mut().rev().flatten().next();
        last.unwrap_or_else(|| panic!("{option} must follow a window"))
    }
}
