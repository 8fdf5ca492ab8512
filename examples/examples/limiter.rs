//! The same door without HTTP: a hundred jobs, of which ten run at a time and the others wait, for
//! half a second at most.
//!
//! A job that is turned away is told when to come back, and does.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_backpressure::{Arrival, Limiter, Outcome, QueueBounds, Shed};

#[tokio::main]
async fn main() {
    let bounds = QueueBounds::new(100, Duration::from_millis(500));
    let limiter = Limiter::fixed(10, bounds);
    let mut jobs = JoinSet::new();
    for number in 0..100 {
        let limiter = limiter.clone();
        jobs.spawn(async move {
            let mut visits = 1;
            while let Err(Shed { reason, retry_after, .. }) = run(&limiter).await {
                println!("job {number} turned away ({reason}), back in {retry_after:.1?}");
                sleep(retry_after).await;
                visits += 1;
            }
            visits
        });
    }
    let visits = jobs.join_all().await;
    println!("{} jobs done in {} visits", visits.len(), visits.iter().sum::<u32>());
}

async fn run(limiter: &Limiter) -> Result<(), Shed> {
    let mut permit = limiter.acquire(Arrival::default()).await?; // waits, or is turned away
    permit.measure(sleep(Duration::from_millis(100))).await; // the job
    permit.record(Outcome::Success); // what a limit that learns would learn from
    Ok(()) // the permit is dropped here: the next one enters
}

// cargo run -p backpressure-examples --example limiter
