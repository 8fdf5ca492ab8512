//! The right to run, released on drop.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use backpressure_core::{Metering, Outcome, Sample};
use tokio::time::Instant;

use super::counter::Entry;
use super::shared::Shared;
use super::stopwatch::Stopwatch;

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
    shared: Arc<Shared>,
    /// Requests in flight at admission, this one included, without those that count apart.
    in_flight: u32,
    /// Requests this one stands for in the measurements.
    weight: u32,
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
    #[inline]
    pub(super) fn new(shared: Arc<Shared>, entry: Entry, stage: Stage) -> Self {
        let metering = shared.metering();
        let weight = if metering == Metering::Nothing { 0 } else { shared.weight(entry) };
        let stopwatch = (weight > 0).then(|| Stopwatch::start(metering == Metering::RunQueue));
        let in_flight = shared.counted(entry.in_flight) as u32;
        let stamp = (!shared.counts_waiting()).then(|| shared.stamp());
        Self { shared, in_flight, weight, stopwatch, stage, hold: entry.hold, stamp }
    }

    /// Runs `work` and measures it.
    pub async fn measure<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| self.poll_measured(work.as_mut(), cx)).await
    }

    /// One poll of `work`, measured. The same work must be passed each time.
    #[inline(always)]
    pub(crate) fn poll_measured<F: Future>(
        &mut self,
        work: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        ready!(self.poll_start(cx));
        let Some(stopwatch) = &self.stopwatch else {
            return work.poll(cx);
        };
        // If the poll panics the work has ended: a panic that is caught outside is no cancellation.
        self.stage = Stage::Ended;
        let (polled, busy) = stopwatch.poll(work, cx);
        self.worked(busy);
        if polled.is_pending() {
            self.stage = Stage::Running;
        }
        polled
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
        let reading = stopwatch.read(now);
        let sample = Sample::new(reading.latency, outcome)
            .run_queue(reading.run_queue)
            .marked(reading.marked)
            .busy(reading.busy)
            .in_flight(self.in_flight as usize)
            .in_flight_at_end(self.shared.counted(self.shared.in_flight()))
            .weight(self.weight);
        self.shared.learn(&sample, self.stamp, self.hold, self.shared.timestamp(now));
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Some(stopwatch) = self.stopwatch.take() {
            self.cancel(&stopwatch);
        }
        self.remove_stamp();
        match self.hold {
            0 => self.shared.leave(|| self.shared.now()),
            hold => self.shared.leave_hold(hold, self.shared.now()),
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}
