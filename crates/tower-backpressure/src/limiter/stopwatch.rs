//! Times one attempt: latency, time runnable but not run, and time on a worker.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::queued::observe;
use super::timed_waker::{Reading, TimedWaker};

/// A running measurement.
///
/// It is a pointer, because permits are moved often and most of them carry none.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    /// Present until the drop.
    waker: Option<Arc<TimedWaker>>,
    times_run_queue: bool,
}

impl Stopwatch {
    /// Starts now. Without `times_run_queue` only the latency is measured.
    pub(crate) fn start(times_run_queue: bool) -> Self {
        Self { waker: Some(TimedWaker::take(Instant::now())), times_run_queue }
    }

    /// Adds time spent waiting for a worker that the waker did not see.
    pub(crate) fn add_run_queue(&self, waited: Duration) {
        self.waker().add_run_queue(waited);
    }

    /// Polls the future; returns how long that kept a worker busy, zero if that is not measured.
    pub(crate) fn poll<F: Future>(
        &self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> (Poll<F::Output>, Duration) {
        if !self.times_run_queue {
            return (future.poll(cx), Duration::ZERO);
        }
        let timed = self.waker();
        let started = Instant::now();
        self.stops_waiting(started);
        timed.register(cx.waker());
        let waker = Waker::from(Arc::clone(timed));
        let (polled, queued) = observe(|| future.poll(&mut Context::from_waker(&waker)));
        if !queued.is_zero() {
            timed.add_marked(queued);
        }
        let busy = started.elapsed();
        timed.add_busy(busy);
        (polled, busy)
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
