//! When the work of a permit may start: at once, or after a yield that makes its run queue visible.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use backpressure_core::Timestamp;

use super::Permit;
use crate::nanos::nanos;

/// How far the work of a permit has come.
#[derive(Clone, Copy, Debug)]
pub(in crate::limiter) enum Stage {
    /// Admitted on arrival; its work has not been polled.
    Admitted,
    /// Admitted from the queue, when another request completed; its work has not been polled.
    Dequeued,
    /// Yielded to the tasks that are ready, so that requests that arrived with it are counted first.
    /// `io_age`: nanoseconds since the driver was polled; at most four seconds, which a permit has room for.
    YieldedToTasks { since: Timestamp, io_age: u32, yields_left: u8 },
    /// Yielded to the I/O driver, so that requests that arrived meanwhile are counted first.
    YieldedToIo { since: Timestamp, yields_left: u8 },
    /// It may start.
    Ready,
    /// It is being measured.
    Running,
    /// The head of the response is there.
    Ended,
    /// The reader of a body has asked for more, and the service has not answered yet.
    Producing { since: Timestamp },
}

/// The longest time since the I/O driver was last polled for work to start. A longer time means that
/// other work has run since, and not only that requests were read.
const MAX_IO_STALENESS: Duration = Duration::from_micros(500);
/// Yields to the I/O driver before work starts: one, and another if other work ran after the first.
const MAX_IO_YIELDS: u8 = 2;

impl Stage {
    /// Since when it has been yielding.
    pub(super) const fn yielded_at(self) -> Option<Timestamp> {
        match self {
            Self::YieldedToTasks { since, .. } | Self::YieldedToIo { since, .. } => Some(since),
            _ => None,
        }
    }
}

impl Permit {
    /// Whether the work may start at once. If not, it may when [`poll_start`](Self::poll_start) is
    /// ready.
    #[inline]
    pub(crate) const fn starts_now(&self) -> bool {
        matches!(self.stage, Stage::Ready | Stage::Running | Stage::Ended)
    }

    /// Ready when the work may start.
    ///
    /// The first poll may wake the task and return [`Poll::Pending`], so that requests that arrived
    /// together are counted before one of them runs: see
    /// [`Limit::yields`](backpressure_core::Limit::yields). If work has run since the I/O driver was
    /// last polled, the second poll yields to the driver as well. A runtime polls the driver when no
    /// task is ready, and a queue that always hands on to the next request leaves it one.
    #[inline]
    pub(crate) fn poll_start(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.starts_now() { Poll::Ready(()) } else { self.poll_yield(cx) }
    }

    #[cold]
    fn poll_yield(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.shared.now();
        match self.stage {
            Stage::Admitted => self.yield_to_tasks(cx, now, now, MAX_IO_YIELDS),
            Stage::Dequeued => self.yield_to_tasks(cx, now, self.shared.io_polled(), MAX_IO_YIELDS),
            Stage::YieldedToTasks { since, io_age, yields_left } => {
                let waited = now.since(since);
                self.add_run_queue(waited);
                let io_age = Duration::from_nanos(io_age.into()) + waited;
                if yields_left > 0 && io_age > MAX_IO_STALENESS {
                    let yields_left = yields_left - 1;
                    self.stage = Stage::YieldedToIo { since: now, yields_left };
                    return pin!(tokio::task::yield_now()).poll(cx);
                }
                self.stage = Stage::Ready;
                Poll::Ready(())
            }
            Stage::YieldedToIo { since, yields_left } => {
                self.add_run_queue(now.since(since));
                self.shared.set_io_polled(now);
                // The driver wakes this task before those it has just woken: it goes behind them.
                self.yield_to_tasks(cx, now, now, yields_left)
            }
            _ => Poll::Ready(()),
        }
    }

    fn yield_to_tasks(
        &mut self,
        cx: &Context<'_>,
        since: Timestamp,
        io_polled: Timestamp,
        yields_left: u8,
    ) -> Poll<()> {
        let io_age = u32::try_from(nanos(since.since(io_polled))).unwrap_or(u32::MAX);
        self.stage = Stage::YieldedToTasks { since, io_age, yields_left };
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn add_run_queue(&self, waited: Duration) {
        if let Some(stopwatch) = &self.stopwatch {
            stopwatch.add_run_queue(waited);
        }
    }
}
