//! The balance: one integer that threads add to and take from.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The parts of a token: a billion, so that a ratio loses nothing anybody could measure and a
/// million tokens still fill only a ten-thousandth of the integer.
const TOKEN: u64 = 1_000_000_000;

/// Relaxed throughout: the number guards nothing but itself.
#[derive(Debug)]
pub(super) struct Bucket {
    parts: AtomicU64,
    deposit: u64,
    capacity: u64,
}

impl Bucket {
    pub(super) fn new(ratio: f64, reserve: u32) -> Self {
        let reserve = u64::from(reserve) * TOKEN;
        Self {
            parts: AtomicU64::new(reserve),
            deposit: (ratio * TOKEN as f64).round() as u64,
            // A token is taken as soon as it is whole, when up to `ratio` of the next is there.
            capacity: reserve.max(2 * TOKEN),
        }
    }

    pub(super) fn deposit(&self) {
        self.add(self.deposit);
    }

    pub(super) fn refund(&self) {
        self.add(TOKEN);
    }

    pub(super) fn withdraw(&self) -> bool {
        self.parts.fetch_update(Relaxed, Relaxed, |parts| parts.checked_sub(TOKEN)).is_ok()
    }

    pub(super) fn balance(&self) -> f64 {
        self.parts.load(Relaxed) as f64 / TOKEN as f64
    }

    /// A full bucket is not written to: while all goes well, many cores only read it.
    fn add(&self, parts: u64) {
        // Whether it was full makes no difference to the caller.
        let _ = self.parts.fetch_update(Relaxed, Relaxed, |held| {
            (held < self.capacity).then(|| (held + parts).min(self.capacity))
        });
    }
}
