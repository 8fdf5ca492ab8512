//! Metrics through the `metrics` facade.
//!
//! The table of all metrics, with what a rise means and what to do, is in `docs/metrics.md`.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread::LocalKey;
use std::time::Duration;

use backpressure_core::Shed;
use tokio::time::Instant;

use crate::headers::shed_reason::index_of;
use crate::limiter::Limiter;
use crate::shared_ref::{SharedRef, Spare};

mod handles;
#[cfg(feature = "policy")]
mod policy_events;
pub(super) mod shown;

use self::handles::Handles;
#[cfg(feature = "policy")]
pub(crate) use self::policy_events::policy_event;

/// The handles of one policy. The first request makes them, so that a recorder that is installed
/// after the layer was built still sees everything.
#[derive(Clone)]
pub(super) struct Metrics {
    handles: Arc<OnceLock<Handles>>,
    lifetime: Arc<Lifetime>,
}

/// Exists as long as the policy. The handles may exist for longer: requests in flight and threads keep them.
struct Lifetime {
    policy: Arc<str>,
    handles: Arc<OnceLock<Handles>>,
}

impl Spare for OnceLock<Handles> {
    fn spare() -> &'static LocalKey<Cell<Option<Arc<Self>>>> {
        thread_local! {
            static SPARE: Cell<Option<Arc<OnceLock<Handles>>>> = const { Cell::new(None) };
        }
        &SPARE
    }
}

/// A request in flight, until dropped.
pub(crate) struct InFlight {
    /// `None`: another value counts the request.
    handles: Option<SharedRef<OnceLock<Handles>>>,
    /// `None`: the time is not recorded.
    since: Option<Instant>,
    is_answered: bool,
}

/// A stream that counts as such, until dropped.
pub(crate) struct StreamCount(Metrics);

/// A request in the queue, until dropped.
pub(super) struct QueueDepth(Metrics);

/// One request in this many has its time recorded, and updates the gauges that are not worth it each time: two
/// readings of the clock are a fourth of what an admission costs.
const TIMED_ONE_IN: u32 = 16;

thread_local! {
    static TURN: Cell<u32> = const { Cell::new(0) };
}

/// Whether it is the turn of this request.
fn is_timed() -> bool {
    let turn = TURN.try_with(|turn| turn.replace(turn.get().wrapping_add(1))).unwrap_or(1);
    turn % TIMED_ONE_IN == 0
}

impl Metrics {
    pub(super) fn new(policy: &Arc<str>) -> Self {
        let (policy, handles) = (Arc::clone(policy), Arc::default());
        Self { handles: Arc::clone(&handles), lifetime: Arc::new(Lifetime { policy, handles }) }
    }

    pub(super) fn in_flight(&self) -> InFlight {
        self.handles().in_flight.increment(1.0);
        let since = is_timed().then(Instant::now);
        InFlight { handles: Some(SharedRef::new(&self.handles)), since, is_answered: false }
    }

    pub(super) fn stream(&self) -> StreamCount {
        self.handles().streams.increment(1.0);
        StreamCount(self.clone())
    }

    /// `limiter`: the one that the gauges show.
    pub(super) fn admitted(&self, limiter: Option<&Limiter>) {
        let handles = self.handles();
        handles.admitted.increment(1);
        if let Some(limiter) = limiter {
            handles.show_limit(limiter);
            // At the same turn as the time, so that tests and low rates see each first request.
            if TURN.try_with(|turn| turn.get() % TIMED_ONE_IN == 1).unwrap_or(false) {
                handles.show(limiter);
            }
        }
    }

    pub(super) fn exempt(&self) {
        self.handles().exempt.increment(1);
    }

    pub(super) fn shed(&self, shed: Shed, limiter: Option<&Limiter>) {
        let handles = self.handles();
        handles.shed[index_of(shed.reason)].increment(1);
        handles.retry_after.record(shed.retry_after.as_secs_f64());
        if let Some(limiter) = limiter {
            handles.show(limiter);
        }
    }

    pub(super) fn would_reject(&self, shed: Shed, limiter: Option<&Limiter>) {
        let handles = self.handles();
        handles.would_reject[index_of(shed.reason)].increment(1);
        if let Some(limiter) = limiter {
            handles.show(limiter);
        }
    }

    pub(super) fn queued(&self) -> QueueDepth {
        self.handles().queue_depth.increment(1.0);
        QueueDepth(self.clone())
    }

    pub(super) fn waited(&self, wait: Duration, was_admitted: bool) {
        let handles = self.handles();
        let waits = if was_admitted { &handles.wait_admitted } else { &handles.wait_rejected };
        waits.record(wait.as_secs_f64());
    }

    /// A request left the queue without a decision.
    pub(super) fn cancelled(&self, wait: Duration) {
        let handles = self.handles();
        handles.cancelled_in_queue.increment(1);
        handles.wait_cancelled.record(wait.as_secs_f64());
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| Handles::new(&self.lifetime.policy))
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        if let Some(handles) = self.handles.get() {
            handles.policy_has_ended();
        }
    }
}

impl InFlight {
    /// The service has responded, or failed.
    #[inline]
    pub(crate) fn answered(&mut self) {
        self.is_answered = true;
    }

    /// Marks that say "not begun" were removed from the response.
    pub(crate) fn marks_removed(&self) {
        if let Some(handles) = self.handles() {
            handles.marks_removed.increment(1);
        }
    }

    /// Moves the count into another value.
    pub(crate) fn take(&mut self) -> Self {
        let Self { since, is_answered, .. } = *self;
        Self { handles: self.handles.take(), since, is_answered }
    }

    fn handles(&self) -> Option<&Handles> {
        self.handles.as_ref().and_then(|handles| handles.get())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Some(handles) = self.handles() else { return };
        handles.in_flight.decrement(1.0);
        if let Some(since) = self.since {
            handles.permit.record(since.elapsed().as_secs_f64());
        }
        if !self.is_answered {
            handles.cancelled_in_service.increment(1);
        }
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.handles().streams.decrement(1.0);
    }
}

impl Drop for QueueDepth {
    fn drop(&mut self) {
        self.0.handles().queue_depth.decrement(1.0);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("policy", &self.lifetime.policy).finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamCount")
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InFlight")
    }
}
