//! Times one attempt: latency, time runnable but not run, and time on a worker.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::queued;
use super::timed_waker::{Reading, Subject, TimedWaker};

/// A running measurement.
///
/// It is a pointer, because permits are moved often and most of them carry none.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    /// Present until the drop.
    waker: Option<Arc<TimedWaker>>,
}

/// One poll that is measured.
#[derive(Debug)]
pub(crate) struct PollTimer {
    started: Instant,
    /// Marked waits of what is around.
    outer: Duration,
    /// The one to poll with.
    pub(crate) waker: Waker,
}

impl Stopwatch {
    /// Starts now.
    pub(crate) fn start(subject: Subject) -> Self {
        Self { waker: Some(TimedWaker::take(subject, Instant::now())) }
    }

    pub(crate) fn subject(&self) -> Subject {
        self.waker().subject()
    }

    /// Adds time spent waiting for a worker that the waker did not see.
    pub(crate) fn add_run_queue(&self, waited: Duration) {
        self.waker().add_run_queue(waited);
    }

    /// A poll begins; `None` where only the latency is measured.
    pub(crate) fn begin_poll(&self, cx: &Context<'_>) -> Option<PollTimer> {
        let timed = self.waker();
        if !timed.subject().times_run_queue {
            return None;
        }
        let started = Instant::now();
        self.stops_waiting(started);
        timed.register(cx.waker());
        let waker = Waker::from(Arc::clone(timed));
        Some(PollTimer { started, outer: queued::begin(), waker })
    }

    /// The poll has ended; returns how long it kept a worker busy.
    pub(crate) fn end_poll(&self, timer: &PollTimer) -> Duration {
        let timed = self.waker();
        let queued = queued::end(timer.outer);
        if !queued.is_zero() {
            timed.add_marked(queued);
        }
        let busy = timer.started.elapsed();
        timed.add_busy(busy);
        busy
    }

    /// The time since the last wake, if there was one, was spent waiting for a worker.
    pub(crate) fn stops_waiting(&self, now: Instant) {
        if let Some(woken) = self.waker().take_woken() {
            self.add_run_queue(now.saturating_duration_since(woken));
        }
    }

    /// Wakes the task that polls the future, as the waker that the future has loses its effect.
    pub(crate) fn wake_task(&self) {
        self.waker().wake_task();
    }

    pub(crate) fn read(&self, now: Instant) -> Reading {
        self.waker().read(now)
    }

    fn waker(&self) -> &Arc<TimedWaker> {
        self.waker.as_ref().expect("present until the drop")
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.put_back();
        }
    }
}
