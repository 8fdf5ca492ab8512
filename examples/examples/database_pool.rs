//! A limiter around a database pool: a short queue with an answer, in place of a long wait for a connection.
//!
//! The pool has four connections, and a query takes 50 ms. Sixty callers want one at the same time. Without
//! the limiter the last of them would wait for 750 ms. With it sixteen are served within 200 ms, and the
//! others are told at once when there will be room.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower_backpressure::{Limiter, QueueBounds, RequestInfo, Shed};

const CONNECTIONS: usize = 4;
/// Three queries behind each connection: the last one waits for 150 ms.
const MAX_WAITING: usize = 3 * CONNECTIONS;
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Stands for the pool of a database driver.
#[derive(Clone)]
struct Database {
    pool: Arc<Semaphore>,
    limiter: Limiter,
}

impl Database {
    fn new() -> Self {
        Self {
            pool: Arc::new(Semaphore::new(CONNECTIONS)),
            limiter: Limiter::fixed(CONNECTIONS, QueueBounds::in_order(MAX_WAITING, MAX_WAIT)),
        }
    }

    async fn query(&self) -> Result<(), Shed> {
        // As many permits as connections: a query with a permit finds a connection free.
        let _permit = self.limiter.acquire(RequestInfo::default()).await?;
        let _connection = self.pool.acquire().await.expect("the pool is never closed");
        sleep(Duration::from_millis(50)).await;
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    let database = Database::new();
    let start = Instant::now();
    let mut queries = JoinSet::new();
    for _ in 0..60 {
        let database = database.clone();
        queries.spawn(async move { (database.query().await, start.elapsed()) });
    }
    let results = queries.join_all().await;
    let served = results.iter().filter(|(result, _)| result.is_ok()).count();
    let slowest = results.iter().filter(|(result, _)| result.is_ok()).map(|(_, took)| *took).max();
    println!("{served} queries served, the slowest after {:.0?}", slowest.unwrap_or_default());
    if let Some((Err(shed), took)) = results.iter().find(|(result, _)| result.is_err()) {
        println!("one rejected after {took:.0?}, told to come back in {:.1?}", shed.retry_after);
    }
}

// cargo run -p backpressure-examples --example database_pool
//
// prints: 16 queries served, the slowest after
// prints: told to come back in
