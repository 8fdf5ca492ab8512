//! What a limiter asks of the set that it is a part of.

use std::task::Waker;

use backpressure_core::Timestamp;

use super::{Membership, Needs};
use crate::limiter::shared::Shared;
use crate::limiter::sync::atomic::Ordering;

impl Shared {
    /// Requests in flight in the other limiters of its set, where the total adapts.
    pub(in crate::limiter) fn in_flight_elsewhere(&self) -> usize {
        let total = self.membership.as_ref().and_then(|it| it.set.limit.as_ref());
        total.map_or(0, |total| total.in_flight_beside(self))
    }

    /// Borrows what a request of this cost lacks, if it is part of a set.
    pub(in crate::limiter) fn borrow(&self, cost: u32, now: Timestamp) {
        if self.membership.is_some() {
            let lacks = self.with_lock(now, |state, counter| state.lacks(Some(cost), counter, now));
            let (lacks, wakers, mut needs) = lacks;
            wakers.into_iter().for_each(Waker::wake);
            needs.lacks = needs.lacks.max(lacks);
            if needs.any() {
                self.settle_set(needs, now);
            }
        }
    }

    /// Lets the set do what this limiter needs.
    #[cold]
    pub(in crate::limiter) fn settle_set(&self, needs: Needs, now: Timestamp) {
        let Some(Membership { set, index }) = &self.membership else { return };
        let mut wakers = Vec::new();
        let mut state = set.lock();
        state.free += needs.returned;
        if let Some(total) = set.new_total() {
            state.resize(total, now, &mut wakers);
            set.published.store(total, Ordering::Relaxed);
        }
        state.settle(now, &mut wakers);
        state.lend(*index, needs.lacks, now, &mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}
