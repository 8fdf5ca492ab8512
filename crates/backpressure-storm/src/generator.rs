//! The load generator: sends each request when it is due, whatever became of the others.

use crate::client::Client;
use crate::event_log::{EventKind, Log, percentile};
use crate::precise_timer::PreciseTimer;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;

/// Sends the requests at their times and returns at `end`, dropping those without an answer. The result is how
/// late the generator itself was: the 99th percentile over the requests.
pub(crate) async fn send_open_loop(
    client: &Client,
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
        open.spawn(request(client.clone(), due, Arc::clone(log)));
        while open.try_join_next().is_some() {}
    }
    timer.until(log.start + end).await?;
    lags.sort_unstable();
    Ok(percentile(&lags, 0.99).unwrap_or_default())
}

/// Latency is measured from when the request was due, so that a late generator cannot flatter the server.
async fn request(client: Client, due: Instant, log: Arc<Log>) {
    log.note_at(due, EventKind::Offered);
    if client.ask().await {
        log.note(EventKind::Answered(due.elapsed()));
    }
}

/// Sends one request at a time, each a moment after the last was answered, until `end`.
pub(crate) async fn send_one_at_a_time(
    client: &Client,
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
pub(crate) async fn send_closed_loop(client: &Client, level: usize, end: Duration, log: &Arc<Log>) {
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
