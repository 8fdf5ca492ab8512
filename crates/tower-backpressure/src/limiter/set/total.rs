//! A total that adapts: one limit that learns from the requests of all limiters of a set.

use std::sync::{Arc, Weak};
use std::time::Duration;

use backpressure_core::limit::MAX;
use backpressure_core::{Limit, Metering, Sample, Timestamp};

use crate::limiter::shared::Shared;
use crate::limiter::sync::atomic::{AtomicUsize, Ordering};
use crate::limiter::sync::{Mutex, MutexGuard};

/// The limit of a set.
///
/// Its lock is taken last: a limiter that learns holds its own.
#[derive(Debug)]
pub(super) struct Total {
    state: Mutex<State>,
    /// What the limit says, readable without the lock.
    target: AtomicUsize,
}

#[derive(Debug)]
struct State {
    limit: Box<dyn Limit>,
    /// The least it may say: what is guaranteed.
    min: usize,
    members: Vec<Weak<Shared>>,
    /// Limiters that find demand above their capacity.
    overloaded: usize,
    /// When an attempt last ended.
    observed: Timestamp,
}

/// A total is stalled only if no attempt of any limiter has ended for this long. A limiter alone may find that its
/// own have not, because its share is small.
const SILENCE: Duration = Duration::from_millis(100);

impl Total {
    pub(super) fn new(limit: Box<dyn Limit>) -> Arc<Self> {
        let state =
            State { limit, min: 1, members: Vec::new(), overloaded: 0, observed: Timestamp::ZERO };
        let target = AtomicUsize::new(state.target());
        Arc::new(Self { state: Mutex::new(state), target })
    }

    /// What the total should be.
    pub(super) fn target(&self) -> usize {
        self.target.load(Ordering::Relaxed)
    }

    /// Adds a limiter; what all are guaranteed is the least of the total from now on.
    pub(super) fn add(&self, member: Weak<Shared>, guaranteed: usize) {
        self.change(|state| {
            state.members.push(member);
            state.min = guaranteed.max(1);
            state.limit.bound(state.min, MAX);
        });
    }

    /// In flight in all limiters but the one at this position.
    pub(super) fn in_flight_beside(&self, index: usize) -> usize {
        self.lock().in_flight_beside(index)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.target.store(state.target(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn target(&self) -> usize {
        self.limit.limit().clamp(self.min, MAX)
    }

    /// In flight in all limiters but the one at this position.
    fn in_flight_beside(&self, index: usize) -> usize {
        let others = (0..self.members.len()).filter(|&other| other != index);
        others.map(|other| self.in_flight_in(other)).sum()
    }

    fn in_flight_in(&self, index: usize) -> usize {
        let limiter = self.members.get(index).and_then(Weak::upgrade);
        limiter.map_or(0, |limiter| limiter.counted_in_flight())
    }
}

/// The part of one limiter in the limit of its set: tells it what the limiter measures, and limits nothing itself.
#[derive(Debug)]
pub(super) struct Share {
    total: Arc<Total>,
    /// The position of the limiter in the set.
    index: usize,
    is_overloaded: bool,
}

impl Share {
    pub(super) const fn new(total: Arc<Total>, index: usize) -> Self {
        Self { total, index, is_overloaded: false }
    }
}

impl Limit for Share {
    fn limit(&self) -> usize {
        MAX
    }

    fn observe(&mut self, sample: &Sample, now: Timestamp) {
        self.total.change(|state| {
            let at_end = sample.in_flight_at_end + state.in_flight_beside(self.index);
            let at_admission = sample.in_flight + sample.in_flight_elsewhere;
            let sample = sample.in_flight(at_admission).in_flight_at_end(at_end);
            state.observed = now;
            state.limit.observe(&sample, now);
        });
    }

    fn observe_apart(&mut self, sample: &Sample) {
        self.total.change(|state| state.limit.observe_apart(sample));
    }

    fn demand(&mut self, overloaded: bool, now: Timestamp) {
        if std::mem::replace(&mut self.is_overloaded, overloaded) == overloaded {
            return;
        }
        self.total.change(|state| {
            let was_overloaded = state.overloaded > 0;
            match overloaded {
                true => state.overloaded += 1,
                false => state.overloaded -= 1,
            }
            if was_overloaded != (state.overloaded > 0) {
                state.limit.demand(overloaded, now);
            }
        });
    }

    fn stalled(&mut self, now: Timestamp) {
        self.total.change(|state| {
            // A compartment that is full says nothing of a total that is not.
            let is_silent = now.since(state.observed) > SILENCE;
            let own = state.in_flight_in(self.index);
            if is_silent && own + state.in_flight_beside(self.index) >= state.target() {
                state.limit.stalled(now);
            }
        });
    }

    fn workers(&self) -> Option<usize> {
        self.total.lock().limit.workers()
    }

    fn metering(&self) -> Metering {
        self.total.lock().limit.metering()
    }

    fn yields(&self) -> bool {
        self.total.lock().limit.yields()
    }

    fn is_known(&self) -> bool {
        self.total.lock().limit.is_known()
    }

    fn is_in_vain(&self) -> bool {
        self.total.lock().limit.is_in_vain()
    }

    fn counts_waiting(&self) -> bool {
        self.total.lock().limit.counts_waiting()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.is_overloaded {
            self.demand(false, Timestamp::ZERO);
        }
    }
}
