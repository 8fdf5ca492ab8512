//! One limiter of a set: what it may keep, and what can be taken from it.

use std::sync::Weak;
use std::task::Waker;

use backpressure_core::{Controller, Timestamp};

use crate::limiter::shared::Shared;

/// A limiter, as its set knows it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) limiter: Weak<Shared>,
    pub(super) guaranteed: usize,
    /// Units that it keeps although it does not use them.
    pub(super) kept: usize,
    /// Units of its own that it waits for.
    pub(super) wants: usize,
}

impl Member {
    pub(super) fn read<T: Default>(&self, read: impl FnOnce(&Controller) -> T) -> T {
        self.limiter.upgrade().map(|limiter| limiter.inspect(read)).unwrap_or_default()
    }

    /// What it keeps when another one borrows: what is its own, or of that as much as it does not lend.
    pub(super) fn keeps(&self, of_own: bool) -> usize {
        if !of_own {
            return self.guaranteed;
        }
        // A quarter more than it uses, or each of its next requests would have to wait for what it has lent.
        let in_use = self.limiter.upgrade().map_or(0, |limiter| limiter.counted_in_flight());
        self.kept.max(in_use + in_use / 4 + 1).min(self.guaranteed)
    }

    pub(super) fn take_free(
        &self,
        units: usize,
        keep: usize,
        now: Timestamp,
        wakers: &mut Vec<Waker>,
    ) -> usize {
        let Some(limiter) = self.limiter.upgrade() else { return 0 };
        let (taken, woken, needs) =
            limiter.with_lock(now, |state, counter| state.take_free(units, keep, counter));
        wakers.extend(woken);
        taken + needs.returned
    }
}
