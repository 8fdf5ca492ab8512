//! A consumer that pulls jobs from a broker, and pauses while interactive requests wait for the same database.
//!
//! Jobs and requests share a limiter of four permits. The consumer takes a permit first and a job then, so that
//! jobs which cannot run stay in the broker. While requests wait, the consumer pulls nothing.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_backpressure::{Limiter, QueueBounds, RequestInfo};

const PERMITS: usize = 4;
/// How often a consumer that pauses looks again. Shorter than a job, so that no permit is idle for long.
const PAUSE: Duration = Duration::from_millis(5);
/// What the consumer prefetches. The channel is bounded: what is beyond waits in the broker.
const PREFETCH: usize = 8;

#[tokio::main]
async fn main() {
    let limiter = Limiter::fixed(PERMITS, QueueBounds::new(100, Duration::from_secs(5)));
    let (broker, jobs) = mpsc::channel(PREFETCH);
    tokio::spawn(async move {
        for number in 0..40 {
            // Waits while the channel is full: this is the backpressure on the broker.
            if broker.send(number).await.is_err() {
                return;
            }
        }
    });
    let consumer = tokio::spawn(consume(limiter.clone(), jobs));

    sleep(Duration::from_millis(100)).await; // the consumer has the database for itself
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let limiter = limiter.clone();
        requests.spawn(async move {
            let permit = limiter.acquire(RequestInfo::default()).await;
            sleep(Duration::from_millis(20)).await; // the query
            permit.is_ok()
        });
    }
    let served = requests.join_all().await.into_iter().filter(|&is_served| is_served).count();
    println!("{served} of 20 interactive requests served");

    let (done, pauses) = consumer.await.expect("the consumer does not panic");
    println!("40 jobs sent, {done} jobs done, and the consumer has paused: {}", pauses > 0);
}

/// Runs jobs until the broker has no more; returns how many, and how often it has paused.
async fn consume(limiter: Limiter, mut jobs: mpsc::Receiver<u32>) -> (usize, usize) {
    let (mut running, mut pauses) = (JoinSet::new(), 0);
    loop {
        while limiter.pressure().is_queueing() {
            pauses += 1;
            sleep(PAUSE).await;
        }
        // No queue for the consumer: where no permit is free, it looks again later.
        let Ok(permit) = limiter.try_acquire() else {
            sleep(PAUSE).await;
            continue;
        };
        let Some(_job) = jobs.recv().await else { break };
        running.spawn(async move {
            sleep(Duration::from_millis(20)).await; // the job
            drop(permit);
        });
    }
    (running.join_all().await.len(), pauses)
}

// cargo run -p backpressure-examples --example worker_queue
//
// prints: 20 of 20 interactive requests served
// prints: 40 jobs done, and the consumer has paused: true
