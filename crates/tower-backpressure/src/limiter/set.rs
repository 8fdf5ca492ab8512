//! Limiters that share a total: each has units of its own, and borrows what others do not use.

use std::sync::Arc;
use std::task::Waker;

use backpressure_core::limit::MAX;
use backpressure_core::{Controller, Fixed, Limit, QueueBounds, Timestamp};
use tokio::time::Instant;

use super::Limiter;
use super::shared::Shared;
use super::sync::atomic::{AtomicUsize, Ordering};
use super::sync::{Mutex, MutexGuard};

mod member;
mod membership;
mod total;

use self::member::Member;
use self::membership::Membership;
use self::total::{Share, Total};

/// A total of units, and the limiters that share it.
///
/// Each limiter has an allowance, and admits requests up to it as any limiter does: one atomic step each, with no word
/// that all of them write. The set moves units from one allowance to another, always the giver first. So all limiters
/// together never use more than the total.
///
/// Order of the locks: the set's, then that of one limiter. No limiter calls the set with its own lock held.
#[derive(Debug)]
pub(crate) struct Set {
    state: Mutex<State>,
    epoch: Instant,
    /// `None`: the total is what an operator says.
    limit: Option<Arc<Total>>,
    /// The total, readable without the lock.
    published: AtomicUsize,
}

#[derive(Debug)]
struct State {
    total: usize,
    /// Units in no allowance.
    free: usize,
    /// Units that a lower total still has to take away.
    excess: usize,
    /// Whether limiters return what is not their own.
    is_recalling: bool,
    members: Vec<Member>,
}

/// One limiter of a set, as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) guaranteed: usize,
    pub(crate) max: usize,
    /// Per cent of what it does not use that others may borrow.
    pub(crate) lends: usize,
    pub(crate) queue: QueueBounds,
}

impl Set {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Self::of(total, None)
    }

    /// A set with a total that adapts.
    pub(crate) fn adaptive(limit: Box<dyn Limit>) -> Arc<Self> {
        let limit = Total::new(limit);
        Self::of(limit.target(), Some(limit))
    }

    fn of(total: usize, limit: Option<Arc<Total>>) -> Arc<Self> {
        let state =
            State { total, free: total, excess: 0, is_recalling: false, members: Vec::new() };
        let (state, published) = (Mutex::new(state), AtomicUsize::new(total));
        Arc::new(Self { state, epoch: Instant::now(), limit, published })
    }

    /// Adds a limiter; `None` if its guarantee does not fit into what is left of the total. A total that adapts grows
    /// as far as is needed.
    pub(crate) fn add(self: &Arc<Self>, part: Part) -> Option<Limiter> {
        let Part { guaranteed, max, lends, queue } = part;
        let mut state = self.lock();
        let others = state.guaranteed();
        let lacking = (others + guaranteed).saturating_sub(state.total);
        if guaranteed == 0 || others + guaranteed > MAX || lacking > 0 && self.limit.is_none() {
            return None;
        }
        state.total += lacking;
        state.free += lacking;
        self.published.store(state.total, Ordering::Relaxed);
        let index = state.members.len();
        let limit: Box<dyn Limit> = match &self.limit {
            Some(total) => Box::new(Share::new(Arc::clone(total), index)),
            None => Box::new(Fixed::new(MAX)),
        };
        let mut controller = Controller::new(limit, queue);
        controller.allow(guaranteed);
        controller.bound_limit(1, max);
        let membership = Box::new(Membership { set: Arc::clone(self), index });
        let shared = Arc::new(Shared::in_set(controller, self.epoch, membership));
        let lent = guaranteed * lends.min(100) / 100;
        let limiter = Arc::downgrade(&shared);
        if let Some(total) = &self.limit {
            total.add(limiter.clone(), others + guaranteed);
        }
        state.members.push(Member { limiter, guaranteed, kept: guaranteed - lent, wants: 0 });
        state.free -= guaranteed;
        Some(Limiter { shared })
    }

    pub(crate) fn total(&self) -> usize {
        self.lock().total
    }

    /// Changes the total, to no less than what is guaranteed. What is in use beyond a lower one stays in use until it
    /// is released.
    pub(crate) fn set_total(&self, total: usize, now: Timestamp) {
        let mut wakers = Vec::new();
        let mut state = self.lock();
        state.resize(total, now, &mut wakers);
        self.published.store(state.total, Ordering::Relaxed);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether the total adapts.
    pub(crate) const fn adapts(&self) -> bool {
        self.limit.is_some()
    }

    /// The total that its limit says, where that is another one.
    fn new_total(&self) -> Option<usize> {
        let target = self.limit.as_ref()?.target();
        (target != self.published.load(Ordering::Relaxed)).then_some(target)
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::ZERO + Instant::now().saturating_duration_since(self.epoch)
    }

    /// Units of all allowances and those that are free.
    #[cfg(all(test, not(limiter_loom)))]
    pub(crate) fn units(&self) -> usize {
        let state = self.lock();
        let allowed = |member: &Member| member.read(Controller::allowance);
        state.free + state.members.iter().map(allowed).sum::<usize>()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn guaranteed(&self) -> usize {
        self.members.iter().map(|member| member.guaranteed).sum()
    }

    /// Changes the total; what is in use beyond a lower one has to be returned.
    fn resize(&mut self, total: usize, now: Timestamp, wakers: &mut Vec<Waker>) {
        let total = total.clamp(1, MAX).max(self.guaranteed());
        let before = std::mem::replace(&mut self.total, total);
        if total >= before {
            // Permits that an earlier, lower total still waits for are kept in place.
            let kept = self.excess.min(total - before);
            self.excess -= kept;
            self.free += total - before - kept;
        } else {
            self.excess += before - total;
        }
        self.settle(now, wakers);
    }

    /// Gives a limiter units that it lacks, as far as there are any; has what is its own recalled otherwise.
    fn lend(&mut self, index: usize, mut lacks: usize, now: Timestamp, wakers: &mut Vec<Waker>) {
        self.members[index].wants = 0;
        // First, as a limiter that is being recalled would return at once what it is given beyond its own.
        self.update_recall(now, wakers);
        // Each round admits a request from its queue, or ends.
        while lacks > 0 {
            let own = self.members[index].read(Controller::owed).min(lacks);
            let taken = self.take(index, lacks, own, now, wakers);
            if taken == 0 {
                self.members[index].wants = own;
                break;
            }
            let still_lacks = self.give(index, taken, now, wakers);
            if still_lacks >= lacks {
                break;
            }
            lacks = still_lacks;
        }
        self.update_recall(now, wakers);
    }

    /// Takes up to `units` from where they are free; `own` of them are the limiter's own.
    fn take(
        &mut self,
        index: usize,
        units: usize,
        own: usize,
        now: Timestamp,
        wakers: &mut Vec<Waker>,
    ) -> usize {
        // Beyond its own it has nothing while another one waits for what it has lent, or the total is to fall.
        let is_scarce = self.excess > 0 || self.members.iter().any(|member| member.wants > 0);
        let wanted = if is_scarce { own } else { units };
        let mut taken = wanted.min(self.free);
        self.free -= taken;
        // First what others have borrowed and do not use, then what is theirs.
        for (of_own, most) in [(false, wanted), (true, if own > 0 { own } else { wanted })] {
            for other in 0..self.members.len() {
                if other != index && taken < most && !(of_own && own > 0) {
                    let keep = self.members[other].keeps(of_own);
                    taken += self.members[other].take_free(most - taken, keep, now, wakers);
                }
            }
        }
        taken
    }

    /// Gives units to a limiter; how many it lacks then.
    fn give(
        &mut self,
        index: usize,
        units: usize,
        now: Timestamp,
        wakers: &mut Vec<Waker>,
    ) -> usize {
        let Some(limiter) = self.members[index].limiter.upgrade() else {
            self.free += units;
            return 0;
        };
        let ((), woken, needs) =
            limiter.with_lock(now, |state, _| state.controller_mut().give(units));
        wakers.extend(woken);
        self.free += needs.returned;
        needs.lacks
    }

    /// Has all limiters return what is not their own and free now, or as soon as it is, while anything is due.
    fn update_recall(&mut self, now: Timestamp, wakers: &mut Vec<Waker>) {
        if self.is_due() == self.is_recalling {
            return;
        }
        self.is_recalling = !self.is_recalling;
        for limiter in self.members.iter().filter_map(|member| member.limiter.upgrade()) {
            let is_recalled = self.is_recalling;
            let ((), woken, needs) =
                limiter.with_lock(now, |state, _| state.controller_mut().recall(is_recalled));
            self.free += needs.returned;
            wakers.extend(woken);
        }
        if self.is_recalling {
            self.settle(now, wakers);
        }
    }

    /// Uses free units for what is due: a lower total, and what limiters wait for that is their own.
    fn settle(&mut self, now: Timestamp, wakers: &mut Vec<Waker>) {
        let ended = self.excess.min(self.free);
        self.excess -= ended;
        self.free -= ended;
        for index in 0..self.members.len() {
            let units = self.members[index].wants.min(self.free);
            if units > 0 {
                self.free -= units;
                let lacks = self.give(index, units, now, wakers);
                let owed = self.members[index].read(Controller::owed);
                self.members[index].wants = owed.min(lacks);
            }
        }
        self.update_recall(now, wakers);
    }

    fn is_due(&self) -> bool {
        self.excess > 0 || self.members.iter().any(|member| member.wants > 0)
    }
}

#[cfg(all(test, limiter_loom))]
mod model;
#[cfg(all(test, not(limiter_loom)))]
mod tests;
