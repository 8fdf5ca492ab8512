//! The naive model: a bucket whose level is a fraction.

use std::time::Duration;

use super::super::{QuotaDecision, QuotaRejection, QuotaWindow, Violated};

/// A bucket in exact fractions: the level in units of `1 / period` tokens, filled nanosecond by nanosecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: i128,
    pub(super) period: i128,
    pub(super) burst: i128,
    max_debt: i128,
    pub(super) level: i128,
    at: u64,
}

impl Bucket {
    pub(super) fn new(window: &QuotaWindow) -> Self {
        let period = window.period().as_nanos() as i128;
        let burst = i128::from(window.burst());
        let (tokens, max_debt) = (i128::from(window.tokens()), i128::from(window.max_debt()));
        Self { tokens, period, burst, max_debt, level: burst * period, at: 0 }
    }

    pub(super) fn refill(&mut self, now: u64) {
        let gained = i128::from(now - self.at) * self.tokens;
        self.level = (self.level + gained).min(self.burst * self.period);
        self.at = now;
    }

    fn wait(&self, cost: u64) -> u64 {
        let missing = (i128::from(cost).min(self.burst) * self.period - self.level).max(0);
        u64::try_from((missing + self.tokens - 1) / self.tokens).unwrap_or(u64::MAX)
    }

    fn take(&mut self, cost: u64) {
        self.level -= i128::from(cost) * self.period;
    }

    pub(super) fn settle(&mut self, reserved: u64, actual: u64) {
        if actual <= reserved {
            let back = i128::from(reserved - actual) * self.period;
            self.level = (self.level + back).min(self.burst * self.period);
        } else {
            let room = (self.level + self.max_debt * self.period).max(0) / self.period;
            self.level -= i128::from(actual - reserved).min(room) * self.period;
        }
    }
}

/// The decision of the naive model.
pub(super) fn naive(
    buckets: &mut [Bucket],
    max_delay: Duration,
    cost: u64,
    now: u64,
) -> QuotaDecision {
    buckets.iter_mut().for_each(|bucket| bucket.refill(now));
    let mut violated = Violated::default();
    for (index, bucket) in buckets.iter().enumerate() {
        if bucket.wait(cost) > 0 {
            violated.add_window(index);
        }
    }
    let wait = buckets.iter().map(|bucket| bucket.wait(cost)).max().unwrap_or(0);
    let is_possible = buckets.iter().all(|bucket| i128::from(cost) <= bucket.burst);
    let retry_after = Duration::from_nanos(wait);
    if !is_possible || retry_after > max_delay {
        return QuotaDecision::Reject(QuotaRejection { retry_after, violated, is_possible });
    }
    buckets.iter_mut().for_each(|bucket| bucket.take(cost));
    if wait == 0 { QuotaDecision::Admit } else { QuotaDecision::Delay(retry_after) }
}
