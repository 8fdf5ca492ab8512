//! The load generator: sends each request when it is due, whatever became of the others.

use crate::event_log::{EventKind, Log, percentile};
use crate::precise_timer::PreciseTimer;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;

/// A client: sends one request, with as many attempts as that takes.
pub(crate) trait Ask: Clone + Send + 'static {
    /// Whether the request was answered.
    fn ask(self) -> impl Future<Output = bool> + Send;
}

/// Most requests that may be open at once. A request is some kilobytes here, and more
/// would fill memory before they told anything about a service.
const MAX_OPEN_REQUESTS: usize = 30_000;

/// Sends the requests at their times and returns at `end`, dropping those without an answer. The result is how
/// late the generator itself was: the 99th percentile over the requests. A request that is due while
/// [`MAX_OPEN_REQUESTS`] are open counts as offered, and is not sent.
pub(crate) async fn send_open_loop(
    client: &impl Ask,
    arrivals: &[Duration],
    end: Duration,
    log: &Arc<Log>,
) -> io::Result<Duration> {
    let mut timer = PreciseTimer::new()?;
    let mut open = JoinSet::new();
    let mut lags = Vec::with_capacity(arrivals.len());
    for &arrival in arrivals {
        let due = log.start + arrival;
        if due > Instant::now() {
            timer.until(due).await?;
        } else {
            // Lets earlier requests make progress even while the generator catches up.
            yield_now().await;
        }
        lags.push(due.elapsed());
        if open.len() < MAX_OPEN_REQUESTS {
            open.spawn(request(client.clone(), due, Arc::clone(log)));
        } else {
            log.note_at(due, EventKind::Offered);
        }
        while open.try_join_next().is_some() {}
    }
    timer.until(log.start + end).await?;
    lags.sort_unstable();
    Ok(percentile(&lags, 0.99).unwrap_or_default())
}

/// Latency is measured from when the request was due, so that a late generator cannot flatter the server.
async fn request(client: impl Ask, due: Instant, log: Arc<Log>) {
    log.note_at(due, EventKind::Offered);
    if client.ask().await {
        log.note(EventKind::Answered(due.elapsed()));
    }
}

/// Sends one request at a time, each a moment after the last was answered, until `end`.
pub(crate) async fn send_one_at_a_time(
    client: &impl Ask,
    end: Duration,
    log: &Arc<Log>,
) -> io::Result<()> {
    let mut timer = PreciseTimer::new()?;
    while log.start.elapsed() < end {
        let due = Instant::now() + Duration::from_millis(2);
        timer.until(due).await?;
        request(client.clone(), due, Arc::clone(log)).await;
    }
    Ok(())
}

/// Keeps `level` requests in flight until `end`.
pub(crate) async fn send_closed_loop(
    client: &impl Ask,
    level: usize,
    end: Duration,
    log: &Arc<Log>,
) {
    let mut loops = JoinSet::new();
    for _ in 0..level {
        let (client, log) = (client.clone(), Arc::clone(log));
        loops.spawn(async move {
            while log.start.elapsed() < end {
                request(client.clone(), Instant::now(), Arc::clone(&log)).await;
            }
        });
    }
    while loops.join_next().await.is_some() {}
}
