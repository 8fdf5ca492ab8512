//! A limit that nobody set: it finds out how much this machine can do, and the rest is told when to
//! come back.
//!
//! `/` computes for some milliseconds and never awaits, so one request a core is all that is of
//! use. Once a second the program prints what the layer knows.

use std::hint::black_box;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tower_backpressure::AdmissionLayer;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let admission = AdmissionLayer::adaptive("api"); // nothing to tune
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

/// A clone of the layer is a handle on the same limit.
async fn watch(admission: AdmissionLayer) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = admission.snapshot();
        let state = if now.overloaded { "overloaded" } else { "at ease" };
        println!(
            "limit {}, in flight {}, waiting {}, {state}",
            now.limit, now.in_flight, now.queued
        );
    }
}

// cargo run --release -p backpressure-examples --example adaptive
//
// Sixty-four clients at a time: how many were served (200) and how many refused (503). Then a
// refusal to look at, from the midst of such a storm.
//
// storm() { seq 6400 | xargs -P 64 -n 100 sh -c 'for n; do curl -s -o /dev/null -w "%{http_code}\n" localhost:3000; done' sh; }
// storm | sort | uniq -c
// storm >/dev/null & sleep 2; for n in $(seq 100); do curl -si localhost:3000 | grep -A 9 "^HTTP/1.1 503" && break; done; wait
