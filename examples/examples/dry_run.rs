//! A rollout in steps: a dry run counts what would be rejected and rejects nothing, then the layer rejects.
//!
//! The limit is 2 without a queue, and ten requests arrive at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::{Router, routing::get};
use tower::ServiceExt;
use tower_backpressure::{AdmissionLayer, Event, Handle, Observer, QueueBounds};

/// Stands for a dashboard. With the feature `metrics`, the counter is
/// `backpressure_requests_total{result="would_reject"}`.
#[derive(Clone, Default)]
struct WouldReject(Arc<AtomicUsize>);

impl Observer for WouldReject {
    fn observe(&self, _policy: &str, event: Event) {
        if matches!(event, Event::WouldReject { .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counter = WouldReject::default();
    let admission = AdmissionLayer::fixed("api", 2)
        .queue(QueueBounds::NONE)
        .dry_run(true)
        .observer(counter.clone());
    let work = || async { tokio::time::sleep(Duration::from_millis(50)).await };
    let app = Router::new().route("/", get(work)).layer(admission);

    let served = burst(&app).await?;
    println!(
        "dry run: {served} of 10 served, {} would be rejected",
        counter.0.load(Ordering::Relaxed)
    );

    // The number is as expected, so the layer is put in force. No restart is needed.
    Handle::named("api").expect("the layer is named so").set_dry_run(false);
    let served = burst(&app).await?;
    println!("in force: {served} of 10 served, the others were rejected");
    Ok(())
}

/// Sends ten requests at once; returns how many were served.
async fn burst(app: &Router) -> Result<usize, Box<dyn std::error::Error>> {
    let requests: Vec<_> =
        (0..10).map(|_| tokio::spawn(app.clone().oneshot(Request::new(Body::empty())))).collect();
    let mut served = 0;
    for request in requests {
        served += usize::from(request.await??.status().is_success());
    }
    Ok(served)
}

// cargo run -p backpressure-examples --example dry_run
//
// prints: dry run: 10 of 10 served, 8 would be rejected
// prints: in force: 2 of 10 served
