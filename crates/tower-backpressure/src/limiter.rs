//! A concurrency limiter for any tokio program: permits, a bounded queue and a limit that may adapt.
//!
//! [`Limiter`] works without HTTP; the layers of this crate are built on it. Without the features
//! `server` and `client` the crate is this module alone.

use std::any::TypeId;
use std::sync::Arc;

use backpressure_core::{
    Adaptive, Controller, Fixed, Limit, LimitChange, Metering, Mode, OutOfRange, Priority,
    QueueBounds, Shed,
};
use tokio::time::Instant;

use crate::request_info::RequestInfo;

mod acquire;
mod activity;
mod bounds;
mod counter;
#[cfg(feature = "client")]
mod early;
mod holds;
mod lender;
mod limit_changes;
#[cfg(all(test, limiter_loom))]
mod model;
mod operations;
mod permit;
mod pressure;
mod published;
mod queued;
mod resources;
mod sampler;
pub(crate) mod set;
mod shared;
mod state;
mod stopwatch;
mod sync;
mod timed_waker;
mod workers;

pub use self::acquire::Acquire;
pub(crate) use self::acquire::Acquired;
#[cfg(feature = "server")]
pub(crate) use self::operations::DRAINED_INTERVAL;
pub use self::permit::Permit;
pub use self::pressure::Pressure;
pub use self::queued::{Queueing, queued};
pub use self::resources::{ResourceWatch, Watching};

#[cfg(feature = "http")]
pub(crate) use self::limit_changes::CAUSES;
use self::permit::Stage;
pub(crate) use self::shared::Shared;
#[cfg(feature = "http")]
pub(crate) use self::stopwatch::PollTimer;
pub(crate) use self::workers::workers;

/// Limits how many requests, jobs or tasks run at once; the others wait in a bounded queue or are rejected.
///
/// Clones are cheap and share one limit and one queue. While the queue is empty, acquiring and
/// releasing a permit is one atomic step each; a lock is taken to queue, to reject and to learn.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tower_backpressure::Shed> {
/// use tower_backpressure::{RequestInfo, Limiter, QueueBounds};
///
/// let limiter = Limiter::fixed(1, QueueBounds::NONE);
/// let permit = limiter.acquire(RequestInfo::default()).await?;
/// assert!(limiter.try_acquire().is_err());
/// drop(permit);
/// assert!(limiter.try_acquire().is_ok());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Limiter {
    shared: Arc<Shared>,
}

/// The state of a limiter at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How many may run at once.
    pub limit: usize,
    /// Permits in use.
    pub in_flight: usize,
    /// How many of them count apart, and not towards the limit, as they have shown no sign of work for long.
    pub apart: usize,
    /// Requests in the queue.
    pub queued: usize,
    /// Whether demand is above capacity.
    pub overloaded: bool,
    /// Whether an operator lets requests in.
    pub mode: Mode,
}

impl Limiter {
    /// A limiter that finds its limit by itself.
    ///
    /// The limit takes into account the worker threads of the current tokio runtime; outside a
    /// runtime, the available parallelism. A CPU quota of the control group counts where it is less.
    #[must_use]
    pub fn adaptive() -> Self {
        Self::new(Adaptive::new(workers()), QueueBounds::default())
    }

    /// A limiter with a constant limit.
    ///
    /// # Panics
    /// When `limit` is not in 1..=1 000 000.
    #[must_use]
    pub fn fixed(limit: usize, queue: QueueBounds) -> Self {
        Self::new(Fixed::new(limit), queue)
    }

    /// [`fixed`](Self::fixed) for a number that is not known when the program is written.
    ///
    /// # Errors
    /// When `limit` is not in 1..=1 000 000.
    pub fn try_fixed(limit: usize, queue: QueueBounds) -> Result<Self, OutOfRange> {
        Fixed::try_new(limit).map(|limit| Self::new(limit, queue))
    }

    /// A limiter with any algorithm. Its answers are clamped to 1..=1 000 000.
    #[must_use]
    pub fn new(limit: impl Limit + 'static, queue: QueueBounds) -> Self {
        let adapts = adapts(&limit);
        let shared = Arc::new(Shared::new(Controller::new(Box::new(limit), queue)));
        shared.set_adapts(adapts);
        Self { shared }
    }

    /// Acquires a permit, waiting in the queue if necessary.
    ///
    /// # Errors
    /// [`Shed`] when the request is rejected: why, and when to come back.
    ///
    /// # Panics
    /// When the request has to wait outside a tokio runtime with time enabled.
    pub fn acquire(&self, info: RequestInfo) -> Acquire {
        Acquire::new(Arc::clone(&self.shared), info)
    }

    /// Acquires a permit now or not at all.
    ///
    /// # Errors
    /// [`Shed`] when no permit is free.
    pub fn try_acquire(&self) -> Result<Permit, Shed> {
        let entry = match self.shared.counter.try_enter() {
            Some(entry) => entry,
            None => self.shared.request_without_queue(self.shared.now())?,
        };
        Ok(Permit::new(&self.shared, entry, Stage::Admitted))
    }

    /// The state at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (in_flight, now) = (self.shared.in_flight(), self.shared.now());
        let apart = self.shared.silent();
        self.shared.inspect(|controller| Snapshot {
            limit: controller.limit(),
            in_flight,
            apart,
            queued: controller.queued(),
            overloaded: controller.is_overloaded(now),
            mode: controller.mode(),
        })
    }

    /// The last change of the limit and the numbers behind it; `None` when it has not changed, or
    /// when its algorithm does not explain its changes.
    #[must_use]
    pub fn last_change(&self) -> Option<LimitChange> {
        self.shared.inspect(Controller::last_change)
    }

    /// Replaces the algorithm of the limit.
    ///
    /// Requests in flight are not interrupted: a lower limit takes effect as they complete. Requests
    /// admitted from now on are measured as the new algorithm needs it. The bounds set with
    /// [`bound_limit`](Self::bound_limit) stay.
    pub fn replace_limit(&self, limit: impl Limit + 'static) {
        self.shared.set_adapts(adapts(&limit));
        let limit = Box::new(limit);
        self.change(|controller| controller.replace_limit(limit));
    }

    /// Keeps the limit in `min..=max` whatever its algorithm says.
    ///
    /// `min` is clamped to 1..=1 000 000 and `max` to `min`..=1 000 000. The same number twice pins the
    /// limit; `1..=1_000_000` removes the bounds.
    pub fn bound_limit(&self, min: usize, max: usize) {
        self.shared.change_bounds(self.shared.now(), |bounds| bounds.ask(min, max));
    }

    /// The bounds of the limit; 1 and 1 000 000 where none were set.
    #[must_use]
    pub fn limit_bounds(&self) -> (usize, usize) {
        self.shared.asked_bounds()
    }

    /// Keeps the limit at or below this number while a resource is short, within its bounds.
    fn set_ceiling(&self, ceiling: Option<usize>) {
        self.shared.change_bounds(self.shared.now(), |bounds| bounds.set_ceiling(ceiling));
    }

    /// Starts the limit from this number, if its algorithm has a state to start from. Meant for a
    /// limiter that has served no request yet.
    pub fn start_limit_at(&self, initial: usize) {
        self.change(|controller| controller.start_limit_at(initial));
    }

    /// What the limit needs measured of each request.
    #[must_use]
    pub fn metering(&self) -> Metering {
        self.shared.metering()
    }

    /// Reserves a share of the capacity for a priority, in per cent, clamped to 50: under overload it gets that
    /// much of all admissions, whatever higher priorities demand. There are no shares by default, so that higher
    /// priorities get all that they can use.
    pub fn reserve_share(&self, priority: Priority, percent: usize) {
        self.change(|controller| controller.reserve_share(priority, percent.min(MAX_SHARE)));
    }

    /// Changes the bounds of the queue. Requests beyond a shorter bound are rejected.
    pub fn bound_queue(&self, queue: QueueBounds) {
        self.change(|controller| controller.bound_queue(queue));
    }

    fn change(&self, change: impl FnOnce(&mut Controller)) {
        self.shared.change(self.shared.now(), change);
    }
}

/// What the layers use.
impl Limiter {
    /// Whether a permit is free that needs no decision, at this moment: one atomic read.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn has_open_permit(&self) -> bool {
        self.shared.counter.open_permits().is_some()
    }

    /// Acquires a permit if that needs no decision: one atomic step.
    #[inline]
    pub(crate) fn try_acquire_undecided(&self) -> Option<Permit> {
        let entry = self.shared.counter.try_enter()?;
        Some(Permit::new(&self.shared, entry, Stage::Admitted))
    }

    /// What the first poll of [`acquire`](Self::acquire) does, without a future where none is needed.
    pub(crate) fn start_acquire(&self, info: RequestInfo, now: Instant) -> Acquired {
        Acquire::start(&self.shared, info, now)
    }

    /// Whether the load is far above what can be served, as of the last request that found no permit:
    /// clients retry immediately, or a crowd arrived at once. Delaying rejections slows them down.
    #[cfg(feature = "http")]
    pub(crate) fn is_flooded(&self) -> bool {
        self.shared.is_flooded()
    }

    /// Whether measurements change the limit.
    #[cfg(feature = "http")]
    pub(crate) fn adapts(&self) -> bool {
        self.shared.adapts()
    }

    /// The last change of the limit, and how long ago it was.
    #[cfg(feature = "http")]
    pub(crate) fn last_change_and_age(&self) -> Option<(LimitChange, std::time::Duration)> {
        let change = self.last_change()?;
        Some((change, self.shared.now().since(change.at)))
    }

    /// Permits in use, without the lock.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }

    /// Whether requests wait because an operator holds them back.
    pub(crate) fn is_paused(&self) -> bool {
        self.shared.inspect(|controller| matches!(controller.mode(), Mode::Paused(_)))
    }

    /// The limit, without the lock, as are the next two.
    #[cfg(feature = "metrics")]
    pub(crate) fn limit(&self) -> usize {
        self.shared.limit()
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn published_bounds(&self) -> (usize, usize) {
        self.shared.bounds()
    }

    /// Changes of the limit, in the order of [`CAUSES`].
    #[cfg(feature = "http")]
    pub(crate) fn limit_changes(&self) -> [u64; CAUSES.len()] {
        self.shared.limit_changes()
    }
}

/// Whether an algorithm changes its limit.
fn adapts<L: Limit + 'static>(_limit: &L) -> bool {
    TypeId::of::<L>() != TypeId::of::<Fixed>()
}

/// The largest share that can be reserved, in per cent: a lower priority that gets more than half is none.
pub(crate) const MAX_SHARE: usize = 50;
