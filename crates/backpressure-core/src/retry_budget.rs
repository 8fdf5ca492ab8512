//! How many retries a client may still send.

use std::time::Duration;

use self::recent::RecentEarnings;
use crate::time::Timestamp;

mod recent;

/// The balance of a client's retries: earned by attempts and by time, spent by retries.
///
/// Three rules of earning and spending, each in the arithmetic of its source:
///
/// | rule | starts with | earns | pays for a retry |
/// |---|---|---|---|
/// | [`ratio`](Self::ratio) | a reserve | a share of a retry for each first attempt; up to one retry by time | one retry |
/// | [`grpc`](Self::grpc) | `max_tokens` | `token_ratio` for each success | nothing; each failure costs one token, and more than half must be left (gRPC proposal A6) |
/// | [`aws`](Self::aws) | 500 | 1 for a success at the first attempt; what the last retry cost for a later success | 5, after a time-out 10 (botocore's standard retry mode) |
///
/// The rule of a ratio keeps to this bound for any number of callers, over any span of `t`:
///
/// > retries ≤ saved + `ratio` × first attempts + `t` / `refill`
///
/// Saved is the reserve, or what the first attempts of about two seconds before the span have earned if that is more. A client
/// that sends a thousand requests a second saves 200 retries: a reserve of ten would pay for ten of the hundred requests of
/// a tenth of a second.
///
/// ```
/// use backpressure_core::{RetryBudget, Timestamp};
///
/// let mut budget = RetryBudget::ratio(0.5).reserve(0);
/// let now = Timestamp::ZERO;
/// budget.first_attempts(1, now);
/// assert!(budget.withdraw(now, false).is_none());
/// budget.first_attempts(1, now);
/// assert!(budget.withdraw(now, false).is_some());
/// ```
#[derive(Clone, Debug)]
pub struct RetryBudget {
    rule: Rule,
    /// In parts of a token.
    balance: u64,
    /// Since when the balance has been less than one token, if it is.
    short_since: Timestamp,
    /// In parts of a token.
    earned: RecentEarnings,
}

/// What a retry cost. [`refund`](RetryBudget::refund) it when the retry is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a charge for a retry that is not sent has to be refunded"]
pub struct Charge(u64);

/// Amounts in parts of a token.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Unless more was earned of late.
    largest_balance: u64,
    for_first_attempt: u64,
    for_success: u64,
    lost_by_failure: u64,
    price: u64,
    price_after_timeout: u64,
    /// The balance has to be at least this for a retry.
    required: u64,
    /// Whether a success pays back what its last retry cost.
    returns_price: bool,
    /// Time in which an empty balance earns one token; zero for never.
    refill: Duration,
}

impl RetryBudget {
    /// `ratio` retries for each first attempt, exactly: 0.1 is one retry in ten requests. The reserve is
    /// ten retries, and the time of a refill five seconds; with a ratio of zero there is no refill.
    ///
    /// # Panics
    /// When `ratio` is not in 0.0..=1.0.
    #[must_use]
    pub fn ratio(ratio: f64) -> Self {
        assert!((0.0..=1.0).contains(&ratio), "ratio must be in 0.0..=1.0, was {ratio}");
        let rule = Rule {
            for_first_attempt: (ratio * PARTS_PER_TOKEN as f64).round() as u64,
            price: PARTS_PER_TOKEN,
            price_after_timeout: PARTS_PER_TOKEN,
            required: PARTS_PER_TOKEN,
            refill: if ratio > 0.0 { DEFAULT_REFILL } else { Duration::ZERO },
            ..Rule::EMPTY
        };
        Self::of(rule, 0).reserve(DEFAULT_RESERVE)
    }

    /// gRPC's retry throttling, with the names of its service config: a failure costs one token, a success
    /// earns `token_ratio`, and a retry is sent while more than half of `max_tokens` is left.
    ///
    /// # Panics
    /// When `max_tokens` is not in 1..=1000, or `token_ratio` not in 0.001..=1000.0.
    #[must_use]
    pub fn grpc(max_tokens: u32, token_ratio: f64) -> Self {
        assert!(
            (1..=1_000).contains(&max_tokens),
            "max_tokens must be in 1..=1000, was {max_tokens}"
        );
        assert!(
            (0.001..=1_000.0).contains(&token_ratio),
            "token_ratio must be in 0.001..=1000.0, was {token_ratio}"
        );
        let full = tokens(max_tokens);
        let rule = Rule {
            largest_balance: full,
            // Three decimals count, the others are ignored: gRPC proposal A6. A number with three decimals
            // may be stored as a little less than it.
            for_success: (token_ratio * 1_000.0 + 1e-6) as u64 * (PARTS_PER_TOKEN / 1_000),
            lost_by_failure: PARTS_PER_TOKEN,
            required: full / 2 + 1,
            ..Rule::EMPTY
        };
        Self::of(rule, full)
    }

    /// The token bucket of the AWS SDKs' standard retry mode.
    #[must_use]
    pub fn aws() -> Self {
        let full = tokens(500);
        let rule = Rule {
            largest_balance: full,
            for_success: PARTS_PER_TOKEN,
            price: tokens(5),
            price_after_timeout: tokens(10),
            returns_price: true,
            ..Rule::EMPTY
        };
        Self::of(rule, full)
    }

    /// The number of retries at the start, which is also the largest balance of a client that sends few requests. The
    /// largest balance is at least two, as fractions would be lost otherwise. It is for the rule of a ratio.
    ///
    /// # Panics
    /// When `reserve` is not in 0..=1 000 000.
    #[must_use]
    pub fn reserve(mut self, reserve: u32) -> Self {
        assert!(reserve <= MAX_RESERVE, "reserve must be in 0..=1000000, was {reserve}");
        self.balance = tokens(reserve);
        // When a token becomes whole, up to `ratio` of the next token is there already.
        self.rule.largest_balance = tokens(reserve.max(2));
        self
    }

    /// The time after which a balance of less than one retry is one retry; [`Duration::ZERO`] for never. It
    /// is for the rule of a ratio.
    #[must_use]
    pub const fn refill(mut self, time: Duration) -> Self {
        self.rule.refill = time;
        self
    }

    /// Counts first attempts that were sent since the last call.
    pub fn first_attempts(&mut self, count: u64, now: Timestamp) {
        let earned = self.rule.for_first_attempt.saturating_mul(count);
        self.earned.add(earned, now);
        self.add(earned);
    }

    /// Counts requests that succeeded at their first attempt.
    pub fn first_successes(&mut self, count: u64) {
        self.add(self.rule.for_success.saturating_mul(count));
    }

    /// Counts a request that succeeded after a retry; `last` is what that retry cost.
    pub fn succeeded_after(&mut self, last: Charge) {
        self.add(if self.rule.returns_price { last.0 } else { self.rule.for_success });
    }

    /// Counts an attempt that failed in a way that a retry may repair, before its retry is withdrawn.
    pub fn failed(&mut self) {
        self.balance = self.balance.saturating_sub(self.rule.lost_by_failure);
    }

    /// Charges one retry; `None` when the balance is too small. `after_timeout`: the attempt before it
    /// got no response in time.
    pub fn withdraw(&mut self, now: Timestamp, after_timeout: bool) -> Option<Charge> {
        self.earn_by_time(now);
        let Rule { price, price_after_timeout, required, .. } = self.rule;
        let price = if after_timeout { price_after_timeout } else { price };
        if self.balance < required.max(price) {
            return None;
        }
        self.balance -= price;
        if self.balance < PARTS_PER_TOKEN {
            self.short_since = now;
        }
        Some(Charge(price))
    }

    /// Returns a charge for a retry that was not sent.
    pub fn refund(&mut self, charge: Charge) {
        self.add(charge.0);
    }

    /// The balance in tokens, fractions included.
    #[must_use]
    pub fn balance(&mut self, now: Timestamp) -> f64 {
        self.earn_by_time(now);
        self.balance as f64 / PARTS_PER_TOKEN as f64
    }

    /// The largest balance at present, in tokens.
    #[must_use]
    pub fn largest_balance(&self) -> f64 {
        self.most_saved() as f64 / PARTS_PER_TOKEN as f64
    }

    /// Whether first attempts earn something.
    #[must_use]
    pub const fn counts_first_attempts(&self) -> bool {
        self.rule.for_first_attempt > 0
    }

    /// Whether the result of an attempt changes the balance.
    #[must_use]
    pub const fn counts_results(&self) -> bool {
        self.rule.for_success > 0 || self.rule.lost_by_failure > 0
    }

    /// The number of successes at a first attempt that fill an empty balance. More of them may be forgotten. Of
    /// first attempts none may be, where they earn something: `u64::MAX`.
    #[must_use]
    pub const fn events_that_fill(&self) -> u64 {
        let Rule { for_first_attempt, for_success, largest_balance, .. } = self.rule;
        match for_success {
            _ if for_first_attempt > 0 => u64::MAX,
            0 => 0,
            each => largest_balance.div_ceil(each),
        }
    }

    const fn of(rule: Rule, balance: u64) -> Self {
        Self { rule, balance, short_since: Timestamp::ZERO, earned: RecentEarnings::NONE }
    }

    fn add(&mut self, parts: u64) {
        self.balance = self.balance.saturating_add(parts).min(self.most_saved());
    }

    fn most_saved(&self) -> u64 {
        self.rule.largest_balance.max(self.earned.sum())
    }

    /// Fills a balance that has been short of one token for the time of a refill.
    fn earn_by_time(&mut self, now: Timestamp) {
        let refill = self.rule.refill;
        let is_short = !refill.is_zero() && self.balance < PARTS_PER_TOKEN;
        if is_short && now.since(self.short_since) >= refill {
            self.balance = PARTS_PER_TOKEN;
        }
    }
}

impl Default for RetryBudget {
    /// One retry in ten requests, a reserve of ten, and one retry in five seconds for a quiet client.
    fn default() -> Self {
        Self::ratio(DEFAULT_RATIO)
    }
}

impl Rule {
    const EMPTY: Self = Self {
        largest_balance: 0,
        for_first_attempt: 0,
        for_success: 0,
        lost_by_failure: 0,
        price: 0,
        price_after_timeout: 0,
        required: 0,
        returns_price: false,
        refill: Duration::ZERO,
    };
}

const fn tokens(count: u32) -> u64 {
    count as u64 * PARTS_PER_TOKEN
}

/// A ratio is rounded to one part in a billion, which is too little to measure. A million tokens are a
/// ten-thousandth of the counter's range.
const PARTS_PER_TOKEN: u64 = 1_000_000_000;

/// Retries for each first attempt. A tenth more load is bearable under overload: Google's SRE book,
/// chapter 21.
const DEFAULT_RATIO: f64 = 0.1;

/// Retries at the start, before any are earned. Fewer would fail the first requests after a start; more would be added
/// at once by every process of a fleet.
const DEFAULT_RESERVE: u32 = 10;

/// Time after which a client with an empty balance has one retry. A client that sends a request every five
/// seconds always has one. Shorter times add up in a fleet: a thousand empty clients send 200 retries a
/// second. Longer times fail the requests of clients that send few.
const DEFAULT_REFILL: Duration = Duration::from_secs(5);

/// Retries; more than one process can use, and far below the overflow of the balance.
const MAX_RESERVE: u32 = 1_000_000;

#[cfg(test)]
mod tests;
