//! Two routes with a bulkhead each: requests for the slow route cannot occupy the whole service.
//!
//! `/slow` depends on a service that takes two seconds. Its bulkhead admits four requests at once and
//! rejects a fifth at once. `/fast` has permits of its own.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tower_backpressure::BulkheadLayer;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new()
        .route("/slow", get(slow).layer(BulkheadLayer::new("slow", 4)))
        .route("/fast", get(fast).layer(BulkheadLayer::new("fast", 16)));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/slow, http://{0}/fast", listener.local_addr()?);
    axum::serve(listener, app).await
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(2)).await;
    "slow\n"
}

async fn fast() -> &'static str {
    "fast\n"
}

// cargo run -p backpressure-examples --example bulkheads
//
// Six requests at once for the slow route: four are served after two seconds, two are rejected at once.
// Meanwhile the fast route responds.
//
// $ for n in $(seq 6); do curl -s -o /dev/null -w "slow %{http_code} after %{time_total} s\n" localhost:3000/slow & done
// $ sleep 0.5; curl -s localhost:3000/fast; wait
//
// prints: slow 200 after 2
// prints: slow 503 after 0
