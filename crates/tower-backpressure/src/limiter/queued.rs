//! Marks a wait inside a handler as queueing.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Instant;

thread_local! {
    /// Time that the future which is being polled on this thread has spent in marked waits that ended in
    /// this poll.
    static QUEUED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Marks the wait for something scarce as queueing: a connection of a pool, a permit of a semaphore, a lock.
///
/// An adaptive limit sees the queue for the workers of the runtime, and takes other waits for work elsewhere. It
/// finds a saturated pool by experiment, which takes time. A wait that is marked is known to be a queue at
/// once, and the limit follows the size of the pool.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use tokio::sync::Semaphore;
/// use tower_backpressure::queued;
///
/// static POOL: Semaphore = Semaphore::const_new(8);
///
/// async fn handler() {
///     let _connection = queued(POOL.acquire()).await;
///     // Uses the connection: that is work.
/// }
/// # handler().await;
/// # }
/// ```
///
/// It has an effect inside a measured future: a handler behind an adaptive layer, or
/// [`Permit::measure`](crate::Permit::measure), and not in a task that is spawned there. Elsewhere it only awaits.
///
/// # Cancellation
/// As that of the future inside; a wait that is cut short is not counted.
pub fn queued<F: Future>(future: F) -> Queueing<F> {
    Queueing { future, since: None }
}

pin_project! {
    /// The future of [`queued`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Queueing<F> {
        #[pin]
        future: F,
        // When it was first polled and was not ready.
        since: Option<Instant>,
    }
}

impl<F: Future> Future for Queueing<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.future.poll(cx);
        match (&polled, *this.since) {
            (Poll::Pending, None) => *this.since = Some(Instant::now()),
            (Poll::Ready(_), Some(since)) => add(since.elapsed()),
            _ => {}
        }
        polled
    }
}

fn add(waited: Duration) {
    let _ = QUEUED.try_with(|queued| queued.set(queued.get().saturating_add(waited)));
}

/// Before a poll: returns the time of what is around, which [`end`] takes.
pub(super) fn begin() -> Duration {
    QUEUED.try_with(|queued| queued.replace(Duration::ZERO)).unwrap_or_default()
}

/// After a poll: returns the time that marked waits in it took. It counts for what is around as well.
pub(super) fn end(outer: Duration) -> Duration {
    let own = QUEUED.try_with(Cell::get).unwrap_or_default();
    let _ = QUEUED.try_with(|queued| queued.set(outer.saturating_add(own)));
    own
}
