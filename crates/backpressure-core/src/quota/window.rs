//! One window of a quota: a token bucket, computed by the generic cell rate algorithm (GCRA).
//!
//! ```text
//! unit        one token is as many units as its window has nanoseconds
//! refill      as many units a nanosecond as the window has tokens
//! usage       the moment at which the bucket is full again, in units: full_at · tokens
//! used(now)   max(0, usage − now · tokens)
//! admit       used + cost · period ≤ burst · period;   then usage ← max(usage, now · tokens) + cost · period
//! ```
//!
//! In these units every rate is a whole number, so that nothing is rounded: a decision takes two multiplications
//! and no division. GCRA is ITU-T I.371's; it keeps the moment itself, and rounds a token to the clock.

use std::time::Duration;

use super::{InvalidQuota, MAX_TOKENS};
use crate::time::Timestamp;

/// One window: this many tokens in each period, of which a bucket holds up to a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaWindow {
    tokens: u64,
    /// Nanoseconds.
    period: u64,
    burst: u64,
    max_debt: u64,
}

/// What one tenant has used of one window. The default is nothing: a full bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaUsage(u128);

/// How a window stands for one tenant.
///
/// ```
/// use backpressure_core::{Quota, QuotaUsage, Timestamp};
/// use std::time::Duration;
///
/// let (quota, mut usage, now) = (Quota::per_second(10), [QuotaUsage::default()], Timestamp::ZERO);
/// let _ = quota.decide(&mut usage, 0, 3, now);
/// let standing = quota.standing(&usage, now).next().expect("one window");
/// assert_eq!(standing.remaining, 7);
/// assert_eq!(standing.more_in, Some(Duration::from_millis(100)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Whole tokens in the bucket.
    pub remaining: u64,
    /// When there is one more; `None`: the bucket is full.
    pub more_in: Option<Duration>,
}

/// Ten years, and a microsecond: bounds of a period. Below, a clock is too coarse for it.
const MAX_PERIOD: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
const MIN_PERIOD: Duration = Duration::from_micros(1);

impl Standing {
    /// A window with this many tokens left, and when there is one more.
    #[must_use]
    pub const fn new(remaining: u64, more_in: Option<Duration>) -> Self {
        Self { remaining, more_in }
    }
}

impl QuotaWindow {
    /// A window of this many tokens in each period, for numbers that are not known when the program is written.
    ///
    /// ```
    /// use backpressure_core::QuotaWindow;
    /// use std::time::Duration;
    ///
    /// let second = Duration::from_secs(1);
    /// assert_eq!(QuotaWindow::try_new(10, second)?.try_burst(20)?.burst(), 20);
    /// let error = QuotaWindow::try_new(0, second).expect_err("no token would come");
    /// assert_eq!(error.to_string(), "tokens must be in 1..=999999999999999");
    /// # Ok::<(), backpressure_core::InvalidQuota>(())
    /// ```
    ///
    /// # Errors
    /// When `tokens` is not in 1..=[`MAX_TOKENS`](crate::MAX_TOKENS), or `period` not from a microsecond to ten years.
    pub fn try_new(tokens: u64, period: Duration) -> Result<Self, InvalidQuota> {
        check("tokens", tokens, 1)?;
        if period < MIN_PERIOD || period > MAX_PERIOD {
            return Err(InvalidQuota::Period);
        }
        Ok(Self { tokens, period: nanos(period), burst: tokens, max_debt: tokens })
    }

    /// The same window, whose bucket holds this many tokens at most.
    ///
    /// # Errors
    /// When `tokens` is not in 1..=[`MAX_TOKENS`](crate::MAX_TOKENS).
    pub fn try_burst(mut self, tokens: u64) -> Result<Self, InvalidQuota> {
        check("burst", tokens, 1)?;
        // Unless it was set, the debt follows the burst.
        if self.max_debt == self.burst {
            self.max_debt = tokens;
        }
        self.burst = tokens;
        Ok(self)
    }

    /// The same window, in which a tenant may owe this many tokens.
    ///
    /// # Errors
    /// When `tokens` is above [`MAX_TOKENS`](crate::MAX_TOKENS).
    pub fn try_max_debt(mut self, tokens: u64) -> Result<Self, InvalidQuota> {
        check("max_debt", tokens, 0)?;
        self.max_debt = tokens;
        Ok(self)
    }

    /// A share of it, rounded up to a token, as no tenant is to be locked out; and without debt.
    pub(super) fn divide(&mut self, of: u32) {
        self.period = self.period.saturating_mul(of.into()).min(nanos(MAX_PERIOD));
        self.burst = self.burst.div_ceil(of.into());
        self.max_debt = 0;
    }

    /// The tokens that come back in a period.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The time in which they come back.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// The tokens that a bucket holds.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// The tokens that a tenant may owe.
    #[must_use]
    pub const fn max_debt(&self) -> u64 {
        self.max_debt
    }

    /// How long until there are this many tokens; zero when there are.
    pub(super) fn wait(&self, usage: QuotaUsage, cost: u64, now: Timestamp) -> Duration {
        // A request that never fits waits for a full bucket.
        let cost = cost.min(self.burst);
        let needed = usage.used(self, now) + self.units(cost);
        self.refill_time(needed.saturating_sub(self.units(self.burst)))
    }

    pub(super) fn standing(&self, usage: QuotaUsage, now: Timestamp) -> Standing {
        let (used, full) = (usage.used(self, now), self.units(self.burst));
        if used == 0 {
            return Standing { remaining: self.burst, more_in: None };
        }
        let remaining = full.saturating_sub(used) / u128::from(self.period);
        let next = (remaining + 1) * u128::from(self.period);
        let more_in = self.refill_time((next + used).saturating_sub(full));
        let remaining = u64::try_from(remaining).expect("at most a burst");
        Standing { remaining, more_in: Some(more_in) }
    }

    pub(super) fn full_in(&self, usage: QuotaUsage, now: Timestamp) -> Duration {
        self.refill_time(usage.used(self, now))
    }

    const fn units(&self, tokens: u64) -> u128 {
        // Both are below 2^64.
        tokens as u128 * self.period as u128
    }

    /// Rounded up: a request that returns then finds its tokens.
    fn refill_time(&self, units: u128) -> Duration {
        if units == 0 {
            return Duration::ZERO;
        }
        let nanos = units.div_ceil(u128::from(self.tokens));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The units that have come back since the epoch.
    fn refilled(&self, now: Timestamp) -> u128 {
        u128::from(now.as_nanos()) * u128::from(self.tokens)
    }
}

// Each term is below 2^115: 2^64 ns · 2^50 tokens for the time and for a delay, 2^59 ns · 2^51 tokens for burst and
// debt. So sums do not overflow.
impl QuotaUsage {
    /// A usage from what [`to_bits`](Self::to_bits) has returned.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The usage as a number, to keep it elsewhere. It is of use only with the same quota and the same epoch of time.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    pub(super) fn used(self, window: &QuotaWindow, now: Timestamp) -> u128 {
        self.0.saturating_sub(window.refilled(now))
    }

    pub(super) fn take(&mut self, window: &QuotaWindow, tokens: u64, now: Timestamp) {
        self.0 = self.0.max(window.refilled(now)) + window.units(tokens);
    }

    pub(super) fn give_back(&mut self, window: &QuotaWindow, tokens: u64, now: Timestamp) {
        // Below the time that has passed is the same as at it: a full bucket.
        let used = self.used(window, now).saturating_sub(window.units(tokens));
        self.0 = window.refilled(now) + used;
    }

    /// How many tokens may be taken although there are none.
    pub(super) fn room_for_debt(self, window: &QuotaWindow, now: Timestamp) -> u64 {
        let most = window.units(window.burst) + window.units(window.max_debt);
        let room = most.saturating_sub(self.used(window, now)) / u128::from(window.period);
        u64::try_from(room).unwrap_or(u64::MAX)
    }

    /// The same tokens used, in the units of another window. Rounded up, by less than a unit: a billionth of a token
    /// where the period is a second.
    pub(super) fn under(self, old: &QuotaWindow, new: &QuotaWindow, now: Timestamp) -> Self {
        let (used, period) = (self.used(old, now), u128::from(old.period));
        let (tokens, rest) = (used / period, used % period);
        let units =
            tokens * u128::from(new.period) + (rest * u128::from(new.period)).div_ceil(period);
        Self(new.refilled(now) + units)
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

const fn check(option: &'static str, tokens: u64, min: u64) -> Result<(), InvalidQuota> {
    match min <= tokens && tokens <= MAX_TOKENS {
        true => Ok(()),
        false => Err(InvalidQuota::Tokens { option, min }),
    }
}
