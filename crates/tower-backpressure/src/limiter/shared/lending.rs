//! A limiter that is a part of a set: what it lacks, and what it returns.

use std::task::Waker;

use backpressure_core::Timestamp;

use super::Shared;
use crate::limiter::lender::{Lender, Needs};

impl Shared {
    /// Requests in flight in the other limiters of its set, where the total adapts.
    pub(in crate::limiter) fn in_flight_elsewhere(&self) -> usize {
        self.lender.as_ref().map_or(0, |lender| lender.in_flight_elsewhere())
    }

    /// Borrows what a request of this cost lacks.
    pub(super) fn borrow(&self, cost: u32, now: Timestamp) {
        let Some(lender) = &self.lender else { return };
        let lacks = self.with_lock(now, |state, counter| state.lacks(Some(cost), counter, now));
        let (lacks, wakers, mut needs) = lacks;
        wakers.into_iter().for_each(Waker::wake);
        needs.lacks = needs.lacks.max(lacks);
        settle(lender.as_ref(), needs, now);
    }

    /// Has done what this limiter needs.
    #[inline]
    pub(super) fn settle_needs(&self, needs: Needs, now: Timestamp) {
        if let Some(lender) = &self.lender {
            settle(lender.as_ref(), needs, now);
        }
    }
}

fn settle(lender: &dyn Lender, needs: Needs, now: Timestamp) {
    if needs.any() {
        lender.settle(needs, now);
    }
}
