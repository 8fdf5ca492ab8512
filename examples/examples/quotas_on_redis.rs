//! One quota for three replicas of a service, kept in Redis or Valkey.
//!
//! Each replica holds a few tokens, and renews them in the background: no request waits for Redis. Stop Redis while it
//! runs: each replica goes on with a third of the quota.

use axum::Router;
use axum::routing::get;
use backpressure_redis::RedisStore;
use tower_backpressure::Quota;
use tower_backpressure::server::{OnStoreFailure, QuotaLayer, SharedQuota};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(3000), |port| port.parse())?;
    let store = RedisStore::open("redis://127.0.0.1:6379/")?;
    let shared = SharedQuota::new(store)
        .lease(5) // the most that a replica admits beyond the quota
        .replicas(3) // until the store says how many there are
        .on_failure(OnStoreFailure::LocalShare);

    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .layer(QuotaLayer::of_all("service", Quota::per_second(30)).shared(shared));

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

// redis-server &
// for port in 3000 3001 3002; do cargo run -p backpressure-examples --example quotas_on_redis $port & done
//
// Ask all of them: together they answer 30 times a second.
//
// for n in $(seq 200); do curl -so /dev/null -w '%{http_code}\n' localhost:300$((n % 3))/; done | sort | uniq -c
