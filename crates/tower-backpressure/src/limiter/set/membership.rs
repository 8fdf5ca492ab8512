//! The place of a limiter in a set, by which it asks for units.

use std::sync::Arc;
use std::task::Waker;

use backpressure_core::Timestamp;

use super::Set;
use crate::limiter::lender::{Lender, Needs};
use crate::limiter::sync::atomic::Ordering;

/// The place of a limiter in a set.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) set: Arc<Set>,
    pub(super) index: usize,
}

impl Lender for Membership {
    fn adapts(&self) -> bool {
        self.set.adapts()
    }

    fn is_resized(&self) -> bool {
        self.set.new_total().is_some()
    }

    fn in_flight_elsewhere(&self) -> usize {
        self.set.limit.as_ref().map_or(0, |total| total.in_flight_beside(self.index))
    }

    fn settle(&self, needs: Needs, now: Timestamp) {
        let Self { set, index } = self;
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
