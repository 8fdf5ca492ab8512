//! What an operator does to a limiter: pause, drain, stop and resume.

use std::pin::pin;
use std::time::Duration;

use backpressure_core::{Controller, Mode};
use tokio::time::{Instant, sleep};

use super::Limiter;

/// How often [`Limiter::drained`] looks: permits are released without a lock, and without telling of it.
pub(crate) const DRAINED_INTERVAL: Duration = Duration::from_millis(20);

impl Limiter {
    /// Starts no request for `duration`, for example while a database fails over, and rejects none for it:
    /// requests wait in the queue, at least 1024 of them where the queue has less room, and lower priorities give way to
    /// higher ones. Then, or after
    /// [`resume`](Self::resume), requests run as before. Those that have waited may wait for a permit for as long as
    /// the queue allows from then on, and at least a second. What is in flight is not interrupted. A process that is
    /// suspended for longer than the pause and that wait rejects what has waited: most of its callers have left.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tower_backpressure::Shed> {
    /// use std::time::Duration;
    /// use tower_backpressure::{Limiter, QueueBounds, RequestInfo};
    ///
    /// let limiter = Limiter::fixed(8, QueueBounds::default());
    /// limiter.pause(Duration::from_secs(5));
    /// let waiting = tokio::spawn(limiter.acquire(RequestInfo::default()));
    /// limiter.resume();
    /// assert!(waiting.await.expect("no panic").is_ok());
    /// # Ok(()) }
    /// ```
    pub fn pause(&self, duration: Duration) {
        let until = self.shared.timestamp(Instant::now()) + duration;
        self.change(|controller| controller.set_mode(Mode::Paused(until)));
    }

    /// Rejects every new request from now on, for a process that is about to end. Each is told to come
    /// back in a second, when another process can serve it. Requests in the queue and in flight are
    /// served; [`drained`](Self::drained) resolves when there are none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use std::time::Duration;
    /// use tower_backpressure::{Limiter, QueueBounds};
    ///
    /// let limiter = Limiter::fixed(8, QueueBounds::default());
    /// limiter.drain();
    /// let shed = limiter.try_acquire().expect_err("new requests are rejected");
    /// assert_eq!(shed.retry_after, Duration::from_secs(1));
    /// limiter.drained().await;
    /// # }
    /// ```
    pub fn drain(&self) {
        self.change(|controller| controller.set_mode(Mode::Draining));
        self.shared.stopping.notify_waiters();
    }

    /// Rejects every new request from now on, and those in the queue. What is in flight is served.
    pub fn stop(&self) {
        self.change(|controller| controller.set_mode(Mode::Stopped));
        self.shared.stopping.notify_waiters();
    }

    /// Ends a pause, a drain or a stop: requests are admitted as before.
    pub fn resume(&self) {
        self.change(|controller| controller.set_mode(Mode::Admitting));
    }

    /// Is operated from now on as the other one is at this moment: its mode, and the bounds of its limit.
    #[cfg(feature = "server")]
    pub(crate) fn operate_as(&self, other: &Self) {
        let mode = match other.shared.inspect(Controller::mode) {
            // Each limiter counts from an instant of its own.
            Mode::Paused(until) => Mode::Paused(self.shared.timestamp(other.shared.instant(until))),
            mode => mode,
        };
        let (min, max) = other.limit_bounds();
        self.bound_limit(min, max);
        self.change(|controller| controller.set_mode(mode));
    }

    /// Resolves when the limiter is drained or stopped.
    pub async fn stopping(&self) {
        let mut told = pin!(self.shared.stopping.notified());
        loop {
            // Before the look, or a stop between the two would be missed.
            told.as_mut().enable();
            let mode = self.shared.inspect(Controller::mode);
            if matches!(mode, Mode::Draining | Mode::Stopped) {
                return;
            }
            told.as_mut().await;
            told.set(self.shared.stopping.notified());
        }
    }

    /// Resolves when no request is in flight and none in the queue. It looks every 20 ms.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    pub async fn drained(&self) {
        while !self.is_empty() {
            sleep(DRAINED_INTERVAL).await;
        }
    }

    /// Whether no request is in flight and none in the queue. Only where none is in flight it takes the lock.
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.in_flight() == 0 && self.shared.inspect(Controller::queued) == 0
    }

    /// Whether no request is in flight and the next one needs no decision, so that none is in the queue; without
    /// the lock.
    #[cfg(feature = "server")]
    pub(crate) fn is_idle(&self) -> bool {
        self.shared.in_flight() == 0 && !self.shared.counter.needs_decision()
    }
}
