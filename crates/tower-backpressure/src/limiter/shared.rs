//! What all handles, permits and queued requests of one limiter share: counter, lock and clock.

use std::cell::Cell;
use std::sync::Arc;
use std::task::Waker;
use std::thread::LocalKey;
use std::time::Duration;

use backpressure_core::{Ages, Controller, Metering, RequestInfo, Sample, Shed, Ticket, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::activity::Activity;
use super::bounds::Bounds;
use super::counter::{Counter, Entry};
use super::lender::{Lender, Needs};
#[cfg(feature = "http")]
use super::limit_changes::CAUSES;
use super::published::Published;
use super::state::{Answer, State};
use super::sync::atomic::{AtomicU64, Ordering};
use super::sync::{Mutex, MutexGuard};
use crate::shared_ref::Spare;

mod clock;
mod lending;
mod work;

/// The counter serves requests while no decision is needed; everything else goes through [`State`]
/// behind the lock. Time is an argument wherever the lock is taken, so that loom can check every
/// interleaving without a runtime.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) counter: Counter,
    state: Mutex<State>,
    published: Published,
    activity: Activity,
    /// Nanoseconds that workers have spent on requests.
    busy: AtomicU64,
    /// The part of it spent on the bodies of responses that is not charged to a response yet.
    body_time: AtomicU64,
    /// The instant that is [`Timestamp::ZERO`].
    epoch: Instant,
    /// Nanoseconds from `epoch` to the last time the I/O driver is known to have been polled.
    io_polled: AtomicU64,
    /// Tells of a drain or a stop.
    pub(super) stopping: Notify,
    /// The set that it is a part of.
    lender: Option<Box<dyn Lender>>,
}

impl Shared {
    pub(crate) fn new(controller: Controller) -> Self {
        Self {
            counter: Counter::new(controller.open()),
            published: Published::new(&controller),
            activity: Activity::default(),
            busy: AtomicU64::new(0),
            body_time: AtomicU64::new(0),
            state: Mutex::new(State::new(controller)),
            epoch: Instant::now(),
            io_polled: AtomicU64::new(0),
            stopping: Notify::new(),
            lender: None,
        }
    }

    /// The same as a part of a set.
    pub(super) fn in_set(controller: Controller, epoch: Instant, lender: Box<dyn Lender>) -> Self {
        let shared = Self::new(controller);
        shared.set_adapts(lender.adapts());
        Self { epoch, lender: Some(lender), ..shared }
    }

    /// Admits a request, queues it or rejects it.
    pub(crate) fn request(&self, info: RequestInfo, now: Timestamp) -> Answer {
        let in_time = info.deadline.is_none_or(|deadline| now < deadline);
        // A request that comes back when told is counted, even where a permit is free.
        let is_plain = info.tenant.is_none() && info.cost <= 1 && !info.returning;
        match (in_time && is_plain).then(|| self.counter.try_enter()).flatten() {
            Some(entry) => Answer::Run(entry),
            None => {
                self.borrow(info.cost, now);
                self.with_state(now, |state, counter| {
                    let answer = state.arrive(info, counter, now);
                    let is_flooded = state.controller().is_flooded();
                    self.published.is_flooded.store(is_flooded, Ordering::Relaxed);
                    answer
                })
            }
        }
    }

    /// Admits a request or rejects it; it does not wait.
    pub(crate) fn request_without_queue(&self, now: Timestamp) -> Result<Entry, Shed> {
        self.borrow(1, now);
        self.with_state(now, |state, counter| state.arrive_without_queue(counter, now))
    }

    /// Releases a permit.
    #[inline]
    pub(crate) fn leave(&self, now: impl FnOnce() -> Timestamp) {
        if self.counter.leave() {
            self.settle(now());
        }
    }

    /// Releases a permit that holds more than one unit, or for a tenant.
    #[cold]
    pub(crate) fn leave_hold(&self, hold: u32, now: Timestamp) {
        self.with_state(now, |state, counter| state.leave(hold, counter, now));
    }

    /// Applies what time alone has changed: silent permits, queued requests that are too late.
    #[cold]
    pub(crate) fn settle(&self, now: Timestamp) {
        self.with_state(now, |_, _| ());
    }

    /// Teaches the limit; `stamp` and `hold` are those of the permit that was measured.
    pub(crate) fn learn(&self, sample: &Sample, stamp: Option<u32>, hold: u32, now: Timestamp) {
        self.with_state(now, |state, _| {
            let sample = sample.cost(u32::try_from(state.units(hold)).unwrap_or(u32::MAX));
            if let Some(every) = state.learn(&sample, stamp, now) {
                self.published.sampling.store(every, Ordering::Relaxed);
            }
            self.published.yields.store(state.controller().yields(), Ordering::Relaxed);
        });
    }

    /// Takes the decision on a ticket, or registers a waker for it.
    pub(crate) fn collect(&self, ticket: Ticket, waker: &Waker) -> Option<Result<Entry, Shed>> {
        self.lock().collect(ticket, waker)
    }

    /// The longest wait of a ticket is over.
    pub(crate) fn expire(&self, ticket: Ticket, now: Timestamp) -> Option<Result<Entry, Shed>> {
        self.with_state(now, |state, _| state.expire(ticket, now))
    }

    /// The request that held a ticket was dropped.
    pub(crate) fn abandon(&self, ticket: Ticket, now: Timestamp) {
        self.with_state(now, |state, counter| state.abandon(ticket, counter, now));
    }

    /// Reads the controller.
    pub(crate) fn inspect<T>(&self, read: impl FnOnce(&Controller) -> T) -> T {
        read(self.lock().controller())
    }

    /// Changes the controller.
    pub(crate) fn change<T>(&self, now: Timestamp, change: impl FnOnce(&mut Controller) -> T) -> T {
        self.with_state(now, |state, _| {
            let answer = change(state.controller_mut());
            self.published.settings(state.controller());
            answer
        })
    }

    /// Changes the bounds of the limit, if that makes a difference.
    pub(crate) fn change_bounds(&self, now: Timestamp, change: impl FnOnce(&mut Bounds)) {
        self.with_state(now, |state, _| {
            if state.change_bounds(change) {
                self.published.settings(state.controller());
            }
        });
    }

    /// The bounds that were asked for.
    pub(crate) fn asked_bounds(&self) -> (usize, usize) {
        self.lock().bounds().asked()
    }

    /// Runs `work` under the lock; then admits or rejects queued requests and wakes their tasks.
    fn with_state<T>(&self, now: Timestamp, work: impl FnOnce(&mut State, &Counter) -> T) -> T {
        let (answer, wakers, needs) = self.with_lock(now, work);
        wakers.into_iter().for_each(Waker::wake);
        self.settle_needs(needs, now);
        answer
    }

    /// The same, without what the set has to do: the wakers are left to the caller.
    pub(super) fn with_lock<T>(
        &self,
        now: Timestamp,
        work: impl FnOnce(&mut State, &Counter) -> T,
    ) -> (T, Vec<Waker>, Needs) {
        let mut state = self.lock();
        let busy = Duration::from_nanos(self.busy.load(Ordering::Relaxed));
        state.begin(&self.counter, &self.activity, busy, now);
        let answer = work(&mut state, &self.counter);
        let mut needs = Needs::default();
        if self.lender.is_some() {
            needs.returned = state.take_recalled(&self.counter);
        }
        let wakers = state.settle(&self.counter, now);
        if let Some(lender) = &self.lender {
            needs.lacks = state.lacks(None, &self.counter, now);
            needs.is_owed = state.controller().owed() > 0;
            needs.resizes = lender.is_resized();
        }
        self.published.silent.store(state.silent(), Ordering::Relaxed);
        let controller = state.controller();
        self.published.changes.publish(controller.limit(), || controller.last_change());
        (answer, wakers, needs)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only a user's `Limit` can panic under the lock. The state is consistent then, and a limiter
        // that stays locked would be worse than a wrong limit.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Spare for Shared {
    fn spare() -> &'static LocalKey<Cell<Option<Arc<Self>>>> {
        thread_local! {
            static SPARE: Cell<Option<Arc<Shared>>> = const { Cell::new(None) };
        }
        &SPARE
    }
}

/// What is read without the lock.
impl Shared {
    #[cfg(feature = "metrics")]
    pub(crate) fn limit(&self) -> usize {
        self.published.changes.limit()
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn bounds(&self) -> (usize, usize) {
        let Published { min, max, .. } = &self.published;
        (min.load(Ordering::Relaxed), max.load(Ordering::Relaxed))
    }

    #[cfg(feature = "http")]
    pub(crate) fn limit_changes(&self) -> [u64; CAUSES.len()] {
        self.published.changes.counts()
    }

    pub(crate) fn metering(&self) -> Metering {
        match self.published.metering.load(Ordering::Relaxed) {
            0 => Metering::Nothing,
            1 => Metering::Latency,
            _ => Metering::RunQueue,
        }
    }

    pub(crate) fn yields(&self) -> bool {
        self.published.yields.load(Ordering::Relaxed)
    }

    pub(crate) fn counts_waiting(&self) -> bool {
        self.published.counts_waiting.load(Ordering::Relaxed)
    }

    /// As of the last request that found no permit: see [`Controller::is_flooded`].
    #[cfg(feature = "http")]
    pub(crate) fn is_flooded(&self) -> bool {
        self.published.is_flooded.load(Ordering::Relaxed)
    }

    #[cfg(feature = "http")]
    pub(crate) fn is_stopping(&self) -> bool {
        self.published.is_stopping.load(Ordering::Relaxed)
    }

    /// Whether measurements change the limit.
    pub(crate) fn adapts(&self) -> bool {
        self.published.adapts.load(Ordering::Relaxed)
    }

    pub(super) fn set_adapts(&self, adapts: bool) {
        self.published.adapts.store(adapts, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.counter.in_flight()
    }

    /// Permits that count apart.
    pub(crate) fn silent(&self) -> usize {
        self.published.silent.load(Ordering::Relaxed)
    }

    /// Permits in flight that count towards the limit.
    pub(crate) fn counted_in_flight(&self) -> usize {
        self.in_flight().saturating_sub(self.silent())
    }

    /// How many of `in_flight` count towards the limit; at least one.
    pub(crate) fn counted(&self, in_flight: usize) -> usize {
        in_flight.saturating_sub(self.silent()).max(1)
    }

    /// How many requests the one that entered stands for in the measurements; 0: it is not measured.
    pub(crate) fn weight(&self, entry: Entry) -> u32 {
        let every = self.published.sampling.load(Ordering::Relaxed);
        if entry.serial & (every - 1) == 0 { every } else { 0 }
    }
}

/// Signs of work: see [`Ages`].
impl Shared {
    /// Starts to watch a permit for signs of work; returns its stamp.
    pub(crate) fn stamp(&self) -> u32 {
        self.activity.enter()
    }

    /// A permit with this stamp gives a sign of work; returns its new stamp.
    #[inline]
    pub(crate) fn renew_stamp(&self, stamp: u32, now: impl FnOnce() -> Timestamp) -> u32 {
        if self.activity.generation() == stamp {
            return stamp;
        }
        self.with_state(now(), |state, _| {
            state.ages().leave(stamp);
            state.ages().generation()
        })
    }

    /// A permit with this stamp counts apart until its next sign of work; returns its new stamp.
    pub(crate) fn set_apart(&self, stamp: u32, now: Timestamp) -> u32 {
        self.with_state(now, |state, _| state.ages().rest(stamp))
    }

    /// Stops watching a permit with this stamp.
    #[inline]
    pub(crate) fn remove_stamp(&self, stamp: u32, now: impl FnOnce() -> Timestamp) {
        if !self.activity.leave(stamp) {
            self.with_state(now(), |state, _| {
                self.activity.leave_any();
                state.ages().leave(stamp);
            });
        }
    }

    /// Whether a permit with this stamp counts apart.
    pub(crate) fn is_silent(&self, stamp: u32) -> bool {
        Ages::is_silent_in(self.activity.generation(), stamp)
    }
}
