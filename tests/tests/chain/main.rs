//! A chain of three services, the last of which becomes ten times slower for ten seconds; and what a service in
//! the middle of a chain passes on.

mod on_sockets;
mod passed_on;
mod slow_dependency;
mod upstream_work;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower_backpressure::queued;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

const SLOTS: usize = 16;
/// How long one request occupies a slot.
const WORK: Duration = Duration::from_millis(20);
/// How many times as long while the last service is slow.
const SLOWER: u32 = 10;
const SLOW_FROM: Duration = Duration::from_secs(5);
const SLOW_UNTIL: Duration = Duration::from_secs(15);
const END: Duration = Duration::from_secs(25);

/// The work of the last service: slots behind an await.
#[derive(Clone, Debug)]
struct Slots {
    free: Arc<Semaphore>,
    start: Instant,
}

impl Slots {
    fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(SLOTS)), start: Instant::now() }
    }

    /// Waits for a slot, which looks like work to a limit.
    async fn work(&self) {
        let slot = self.free.acquire().await.expect("never closed");
        self.occupy(slot).await;
    }

    /// The same with the wait marked as one, as the guide says.
    async fn work_marked(&self) {
        let slot = queued(self.free.acquire()).await.expect("never closed");
        self.occupy(slot).await;
    }

    async fn occupy(&self, _slot: SemaphorePermit<'_>) {
        let is_slow = (SLOW_FROM..SLOW_UNTIL).contains(&self.start.elapsed());
        sleep(if is_slow { SLOWER * WORK } else { WORK }).await;
    }
}

/// How many requests the last service can do at this rate of requests.
fn possible(rate: f64) -> f64 {
    let capacity = SLOTS as f64 / WORK.as_secs_f64();
    let slow = (SLOW_UNTIL - SLOW_FROM).as_secs_f64();
    let usual = END.as_secs_f64() - slow;
    rate.min(capacity) * usual + rate.min(capacity / f64::from(SLOWER)) * slow
}

/// When each call came, and whether it was served.
#[derive(Debug)]
struct Calls(Vec<(Duration, bool)>);

impl Calls {
    /// Makes calls at a constant rate until the end.
    async fn make<F>(rate: f64, call: impl Fn() -> F) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let (start, mut calls) = (Instant::now(), JoinSet::new());
        for index in 0_u32.. {
            let at = Duration::from_secs_f64(f64::from(index) / rate);
            if at >= END {
                break;
            }
            sleep_until(start + at).await;
            let call = call();
            calls.spawn(async move { (at, call.await) });
        }
        Self(calls.join_all().await)
    }

    /// Of the calls that came in this span.
    fn served(&self, from: Duration, until: Duration) -> usize {
        self.0.iter().filter(|(at, served)| (from..until).contains(at) && *served).count()
    }

    fn all_served(&self) -> usize {
        self.served(Duration::ZERO, END)
    }

    fn print(&self, name: &str) {
        let seconds = (0..u32::try_from(END.as_secs()).expect("few")).map(|second| second * SECOND);
        let served: Vec<_> = seconds.map(|from| self.served(from, from + SECOND)).collect();
        println!("{name}: served in each second {served:?}");
    }
}
