//! The right to run, released on drop.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, ready};
use std::time::Duration;

use backpressure_core::{Metering, Outcome, Sample};
use tokio::time::Instant;

use super::counter::Entry;
use super::shared::Shared;
use super::stopwatch::{PollTimer, Stopwatch};
use super::timed_waker::Subject;
use crate::shared_ref::SharedRef;

mod progress;
mod start;

pub(super) use self::start::Stage;

/// The right to run; dropping it releases it.
///
/// A permit teaches its limiter what [`record`](Self::record) says: how the work ended. A permit that
/// is dropped while measured work is under way teaches that the work was cut short; one that is
/// dropped at any other point, or by a panic, teaches nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tower_backpressure::Shed> {
/// use tower_backpressure::{Limiter, Outcome, RequestInfo};
///
/// let limiter = Limiter::adaptive();
/// let mut permit = limiter.acquire(RequestInfo::default()).await?;
/// let sum = permit.measure(async { 1 + 1 }).await;
/// permit.record(Outcome::Success);
/// # assert_eq!(sum, 2);
/// # Ok(()) }
/// ```
///
/// # Cancellation
/// Dropping it at any point releases it exactly once.
#[must_use = "a permit that is dropped is released at once"]
pub struct Permit {
    shared: SharedRef<Shared>,
    /// `None`: it is not measured, or the measurement has ended.
    stopwatch: Option<Stopwatch>,
    stage: Stage,
    /// What it holds besides one unit; 0: nothing.
    hold: u32,
    /// The generation in which it last gave a sign of work; `None`: it counts whatever it does.
    stamp: Option<u32>,
}

impl Permit {
    /// `stage` says whether the request was admitted on arrival or from the queue.
    #[inline(always)]
    pub(super) fn new(shared: &Arc<Shared>, entry: Entry, stage: Stage) -> Self {
        let stopwatch = match shared.weight(entry) {
            0 => None,
            weight => Self::start_measurement(shared, entry, weight),
        };
        let stamp = (!shared.counts_waiting()).then(|| shared.stamp());
        let stage = if shared.yields() { stage } else { Stage::Ready };
        Self { shared: SharedRef::new(shared), stopwatch, stage, hold: entry.hold, stamp }
    }

    #[cold]
    fn start_measurement(shared: &Shared, entry: Entry, weight: u32) -> Option<Stopwatch> {
        let times_run_queue = match shared.metering() {
            Metering::Nothing => return None,
            metering => metering == Metering::RunQueue,
        };
        let in_flight = shared.counted(entry.in_flight);
        let in_flight_elsewhere = shared.in_flight_elsewhere();
        Some(Stopwatch::start(Subject { in_flight, in_flight_elsewhere, weight, times_run_queue }))
    }

    /// Runs `work` and measures it.
    pub async fn measure<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| {
            ready!(self.poll_start(cx));
            let timer = self.begin_poll(cx);
            let waker = timer.as_ref().map_or(cx.waker(), |timer| &timer.waker);
            let polled = work.as_mut().poll(&mut Context::from_waker(waker));
            self.end_poll(timer, polled.is_pending());
            polled
        })
        .await
    }

    /// A poll of its work begins, with the waker of the timer if there is one.
    #[inline]
    pub(crate) fn begin_poll(&mut self, cx: &Context<'_>) -> Option<PollTimer> {
        let stopwatch = self.stopwatch.as_ref()?;
        // If the poll panics the work has ended: a panic that is caught outside is no cancellation.
        self.stage = Stage::Ended;
        stopwatch.begin_poll(cx)
    }

    /// The poll has ended. The timer goes with it: its waker is kept for another request only if no clone is left.
    #[inline]
    pub(crate) fn end_poll(&mut self, timer: Option<PollTimer>, is_pending: bool) {
        let Some(stopwatch) = &self.stopwatch else { return };
        let weight = stopwatch.subject().weight;
        if let Some(timer) = timer {
            let busy = stopwatch.end_poll(&timer);
            self.worked(busy, weight);
        }
        if is_pending {
            self.stage = Stage::Running;
        }
    }

    /// Whether an operator drains or stops the limiter.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }

    /// Whether [`record`](Self::record) teaches anything. At very high rates one request in k does.
    #[inline]
    pub(crate) const fn is_measured(&self) -> bool {
        self.stopwatch.is_some()
    }

    /// Says how the work ended and ends the measurement. The permit is held until the drop.
    #[inline]
    pub fn record(&mut self, outcome: Outcome) {
        if let Some(stopwatch) = self.stopwatch.take() {
            self.teach(&stopwatch, outcome);
        }
    }

    /// Nothing is measured any more, and the work starts without a yield. Work that is under way is polled
    /// again, since it holds a waker of the measurement, which ends here.
    pub(crate) fn skip_measurement(&mut self) {
        self.stage = Stage::Ended;
        if let Some(stopwatch) = self.stopwatch.take() {
            stopwatch.wake_task();
        }
    }

    /// The work was cut short.
    #[cold]
    fn cancel(&self, stopwatch: &Stopwatch) {
        match self.stage {
            Stage::Running => stopwatch.stops_waiting(Instant::now()),
            stage => match stage.yielded_at() {
                Some(since) => stopwatch.add_run_queue(self.shared.now().since(since)),
                None => return,
            },
        }
        if !std::thread::panicking() {
            self.teach(stopwatch, Outcome::Cancelled);
        }
    }

    fn teach(&self, stopwatch: &Stopwatch, outcome: Outcome) {
        let now = Instant::now();
        let (reading, subject) = (stopwatch.read(now), stopwatch.subject());
        let of_bodies = match outcome {
            Outcome::Success => self.shared.take_body_time() / subject.weight,
            _ => Duration::ZERO,
        };
        let sample = Sample::new(reading.latency + of_bodies, outcome)
            .run_queue(reading.run_queue)
            .marked(reading.marked)
            .busy(reading.busy + of_bodies)
            .in_flight(subject.in_flight)
            .in_flight_elsewhere(subject.in_flight_elsewhere)
            .in_flight_at_end(self.shared.counted(self.shared.in_flight()))
            .weight(subject.weight);
        self.shared.learn(&sample, self.stamp, self.hold, self.shared.timestamp(now));
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        let stopwatch = self.stopwatch.take();
        // Released even where a user's limit panics as it learns.
        let release = Release(self);
        if let Some(stopwatch) = stopwatch {
            release.0.cancel(&stopwatch);
        }
    }
}

/// Releases the permit when it is dropped.
struct Release<'a>(&'a mut Permit);

impl Drop for Release<'_> {
    #[inline]
    fn drop(&mut self) {
        let permit = &mut *self.0;
        permit.remove_stamp();
        match permit.hold {
            0 => permit.shared.leave(|| permit.shared.now()),
            hold => permit.shared.leave_hold(hold, permit.shared.now()),
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("stage", &self.stage).finish_non_exhaustive()
    }
}
