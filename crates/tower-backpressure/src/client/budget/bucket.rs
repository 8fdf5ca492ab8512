//! The balance of a retry budget: one atomic integer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A ratio is rounded to one part in a billion, which is too little to measure. A million tokens are a
/// ten-thousandth of the counter's range, so that additions cannot overflow.
const PARTS_PER_TOKEN: u64 = 1_000_000_000;

/// Counts tokens in parts. Relaxed ordering suffices, as the counter guards no other memory.
#[derive(Debug)]
pub(super) struct Bucket {
    balance_parts: AtomicU64,
    deposit_parts: u64,
    max_parts: u64,
}

impl Bucket {
    pub(super) fn new(ratio: f64, reserve: u32) -> Self {
        let reserve_parts = u64::from(reserve) * PARTS_PER_TOKEN;
        Self {
            balance_parts: AtomicU64::new(reserve_parts),
            deposit_parts: (ratio * PARTS_PER_TOKEN as f64).round() as u64,
            // When a token becomes whole, up to `ratio` of the next token is there already.
            max_parts: reserve_parts.max(2 * PARTS_PER_TOKEN),
        }
    }

    pub(super) fn deposit(&self) {
        self.add(self.deposit_parts);
    }

    pub(super) fn refund(&self) {
        self.add(PARTS_PER_TOKEN);
    }

    pub(super) fn withdraw(&self) -> bool {
        self.balance_parts
            .fetch_update(Relaxed, Relaxed, |balance| balance.checked_sub(PARTS_PER_TOKEN))
            .is_ok()
    }

    pub(super) fn balance(&self) -> f64 {
        self.balance_parts.load(Relaxed) as f64 / PARTS_PER_TOKEN as f64
    }

    /// Adds parts up to the maximum. A full bucket is only read, so that cores do not contend for its cache
    /// line while no request fails.
    fn add(&self, parts: u64) {
        // The result says whether the bucket was full, which makes no difference to the caller.
        let _ = self.balance_parts.fetch_update(Relaxed, Relaxed, |balance| {
            (balance < self.max_parts).then(|| (balance + parts).min(self.max_parts))
        });
    }
}
