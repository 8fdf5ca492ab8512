//! A limiter without HTTP: of a hundred jobs, ten run at once and the others wait in the queue, for half a
//! second at most.
//!
//! A rejected job gets a time at which to come back, and tries again then.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_backpressure::{Limiter, Outcome, QueueBounds, RequestInfo, Shed};

#[tokio::main]
async fn main() {
    let bounds = QueueBounds::new(100, Duration::from_millis(500));
    let limiter = Limiter::fixed(10, bounds);
    let mut jobs = JoinSet::new();
    for number in 0..100 {
        let limiter = limiter.clone();
        jobs.spawn(async move {
            let mut attempts = 1;
            while let Err(Shed { reason, retry_after, .. }) = run(&limiter).await {
                println!("job {number} rejected ({reason}), tries again in {retry_after:.1?}");
                sleep(retry_after).await;
                attempts += 1;
            }
            attempts
        });
    }
    let attempts = jobs.join_all().await;
    println!("{} jobs done in {} attempts", attempts.len(), attempts.iter().sum::<u32>());
}

async fn run(limiter: &Limiter) -> Result<(), Shed> {
    let mut permit = limiter.acquire(RequestInfo::default()).await?; // waits in the queue, or is rejected
    permit.measure(sleep(Duration::from_millis(100))).await; // the job
    permit.record(Outcome::Success); // an adaptive limit learns from this
    Ok(()) // dropping the permit admits the next job
}

// cargo run -p backpressure-examples --example limiter
//
// prints: 100 jobs done in
