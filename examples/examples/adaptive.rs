//! A server with an adaptive limit: it finds how many requests this machine can serve at once, and rejects
//! the others with a `Retry-After`.
//!
//! `/` computes for some milliseconds and never awaits, so that more than one request per core at once is
//! of no use. Once a second the program prints the state of the limiter.

use std::hint::black_box;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tower_backpressure::AdmissionLayer;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let admission = AdmissionLayer::adaptive("api"); // needs no configuration
    tokio::spawn(watch(admission.clone()));
    let app = Router::new().route("/", get(compute)).layer(admission);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

async fn compute() -> String {
    let sum = (0..4_000_000_u64).fold(0, |sum, n| black_box(sum ^ n.wrapping_mul(n)));
    format!("{sum}\n")
}

/// A clone of the layer shares its limiter.
async fn watch(admission: AdmissionLayer) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = admission.snapshot();
        let state = if now.overloaded { "overloaded" } else { "not overloaded" };
        println!(
            "limit {}, in flight {}, queued {}, {state}",
            now.limit, now.in_flight, now.queued
        );
    }
}

// cargo run --release -p backpressure-examples --example adaptive
//
// 640 requests, 64 at a time; 200 is served, 503 is rejected. A release build rejects more of 6400.
//
// $ storm() { seq ${1:-640} | xargs -P 64 -n 10 sh -c 'for n; do curl -s -o /dev/null -w "%{http_code}\n" localhost:3000; done' sh; }
// $ storm | sort | uniq -c
//
// prints: 200
// prints: limit
// prints: in flight
//
// A rejection from such a storm:
//
// storm 6400 >/dev/null & sleep 2; for n in $(seq 100); do curl -si localhost:3000 | grep -A 9 "^HTTP/1.1 503" && break; done; wait
