//! The right to run.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use backpressure_core::{Metering, Outcome, Sample, Timestamp};
use tokio::time::Instant;

use crate::count::Entry;
use crate::door::Door;
use crate::meter::Meter;
use crate::place::Place;

/// The right to run, given back when it is dropped.
///
/// A permit teaches its gate what it is told: how the work ended. Dropped while measured work is
/// under way, it tells that the work was cut short; dropped at any other point, or by a panic, it
/// only frees its place.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), backpressure_gate::Shed> {
/// use backpressure_gate::{Arrival, Gate, Outcome};
///
/// let gate = Gate::adaptive();
/// let mut permit = gate.enter(Arrival::default()).await?;
/// let sum = permit.measure(async { 1 + 1 }).await;
/// permit.record(Outcome::Success);
/// # assert_eq!(sum, 2);
/// # Ok(()) }
/// ```
///
/// # Cancellation
/// Dropping it at any point frees its place exactly once.
#[must_use = "a permit that is dropped frees its place at once"]
pub struct Permit {
    /// There until the drop.
    place: Option<Place>,
    in_flight: u32,
    weight: u32,
    meter: Option<Meter>,
    stage: Stage,
}

/// How far the work of a permit has come.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Its request has just come: the work has not been polled.
    Fresh,
    /// The same, but its request stood in the queue until somebody's work ended.
    Called,
    /// It stands behind those who are ready, so that whoever came with it is counted first.
    Behind { since: Timestamp, looked: Timestamp, looks: u8 },
    /// It waits for a look at the sockets, so that whoever came meanwhile is counted too.
    Deferred { since: Timestamp, looks: u8 },
    /// It may begin.
    Ready,
    /// It has begun under the meter.
    Running,
    /// It has ended.
    Ended,
}

/// Nobody runs who knows of no look at the sockets that is more recent than this: work has been
/// run since, and not only requests read.
const STALE: Duration = Duration::from_micros(500);
/// Looks that a permit waits for at most: one, and another if somebody else ran after that.
const LOOKS: u8 = 2;

impl Permit {
    #[inline]
    pub(crate) fn new(door: Arc<Door>, entry: Entry) -> Self {
        Self::at(Stage::Fresh, door, entry)
    }

    /// For somebody who stood in the queue.
    pub(crate) fn called(door: Arc<Door>, entry: Entry) -> Self {
        Self::at(Stage::Called, door, entry)
    }

    #[inline]
    fn at(stage: Stage, door: Arc<Door>, entry: Entry) -> Self {
        let metering = door.hall().metering();
        let weight = if metering == Metering::Nothing { 0 } else { door.hall().weight(entry) };
        let meter = (weight > 0).then(|| Meter::start(metering == Metering::RunQueue));
        let in_flight = door.hall().working(entry) as u32;
        let place = Some(Place::new(door));
        Self { place, in_flight, weight, meter, stage }
    }

    /// Runs `work` under this permit's meter.
    pub async fn measure<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| self.poll_measured(work.as_mut(), cx)).await
    }

    /// One poll of `work` under this permit's meter; the same work must be passed each time.
    ///
    /// Calls [`poll_begin`](Self::poll_begin) first.
    pub fn poll_measured<F: Future>(
        &mut self,
        work: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        ready!(self.poll_begin(cx));
        let Some(meter) = &self.meter else {
            return work.poll(cx);
        };
        // If the poll panics it has ended: a panic that is caught outside is no caller that has left.
        self.stage = Stage::Ended;
        let (polled, busy) = meter.poll(work, cx);
        self.worked(busy);
        if polled.is_pending() {
            self.stage = Stage::Running;
        }
        polled
    }

    /// Whether the work may begin at once. If not, it may when [`poll_begin`](Self::poll_begin) is
    /// ready.
    #[inline]
    pub fn begin(&mut self) -> bool {
        if matches!(self.stage, Stage::Fresh | Stage::Called) && !self.door().hall().yields() {
            self.stage = Stage::Ready;
        }
        matches!(self.stage, Stage::Ready | Stage::Running | Stage::Ended)
    }

    /// Ready when the work may begin.
    ///
    /// The first poll may wake the task itself and return [`Poll::Pending`], so that whoever came
    /// with this request is counted before it runs: see
    /// [`Limit::yields`](backpressure_core::Limit::yields). If work has been run since somebody
    /// looked at the sockets, it yields to the I/O driver as well: a runtime looks there when nothing
    /// is left to do, and a queue that hands on to the next would always leave it something.
    #[inline]
    pub fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.begin() { Poll::Ready(()) } else { self.poll_yield(cx) }
    }

    /// Its work has just kept a worker for so long.
    fn worked(&mut self, busy: Duration) {
        let place = self.place.as_mut().expect("there until the drop");
        place.worked(busy, self.weight);
    }

    #[cold]
    fn poll_yield(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.door().now();
        match self.stage {
            Stage::Ready | Stage::Running | Stage::Ended => {}
            Stage::Fresh => return self.fall_behind(cx, now, now, LOOKS),
            Stage::Called => return self.fall_behind(cx, now, self.door().looked(), LOOKS),
            Stage::Behind { since, looked, looks } => {
                self.wait(now.since(since));
                if looks > 0 && now.since(looked) > STALE {
                    self.stage = Stage::Deferred { since: now, looks: looks - 1 };
                    return pin!(tokio::task::yield_now()).poll(cx);
                }
                self.stage = Stage::Ready;
            }
            Stage::Deferred { since, looks } => {
                self.wait(now.since(since));
                self.door().look(now);
                // Woken by the driver ahead of everybody it woke: back behind them.
                return self.fall_behind(cx, now, now, looks);
            }
        }
        Poll::Ready(())
    }

    fn fall_behind(
        &mut self,
        cx: &Context<'_>,
        now: Timestamp,
        looked: Timestamp,
        looks: u8,
    ) -> Poll<()> {
        self.stage = Stage::Behind { since: now, looked, looks };
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn wait(&mut self, waited: Duration) {
        if let Some(meter) = &self.meter {
            meter.waited(waited);
        }
    }

    /// Whether [`record`](Self::record) teaches anything: under very many requests one in k does.
    #[must_use]
    #[inline]
    pub const fn is_measured(&self) -> bool {
        self.meter.is_some()
    }

    /// Says how the work ended; the measurement ends here. The place is kept until the drop.
    #[inline]
    pub fn record(&mut self, outcome: Outcome) {
        if let Some(meter) = self.meter.take() {
            self.teach(&meter, outcome);
        }
    }

    /// The work was cut short: the caller has left.
    #[cold]
    fn cancel(&self, meter: &Meter) {
        match self.stage {
            Stage::Behind { since, .. } | Stage::Deferred { since, .. } => {
                meter.waited(self.door().now().since(since));
            }
            Stage::Running => meter.stops_waiting(Instant::now()),
            Stage::Fresh | Stage::Called | Stage::Ready | Stage::Ended => return,
        }
        if !std::thread::panicking() {
            self.teach(meter, Outcome::Cancelled);
        }
    }

    fn door(&self) -> &Door {
        self.place.as_ref().expect("there until the drop").door()
    }

    fn teach(&self, meter: &Meter, outcome: Outcome) {
        let now = Instant::now();
        let reading = meter.read(now);
        let sample = Sample {
            latency: reading.latency,
            run_queue: reading.run_queue,
            busy: reading.busy,
            in_flight: self.in_flight as usize,
            weight: self.weight,
            outcome,
        };
        let door = self.door();
        let stamp = self.place.as_ref().and_then(Place::stamp);
        door.hall().learn(&sample, stamp, door.timestamp(now));
    }

    /// Keeps the place and nothing else.
    #[inline]
    pub fn into_place(mut self) -> Place {
        self.meter = None;
        self.place.take().expect("there until the drop")
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Some(meter) = self.meter.take() {
            self.cancel(&meter);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}
