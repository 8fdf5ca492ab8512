//! The metrics of the layers, as Prometheus scrapes them.
//!
//! The route of the metrics is merged outside the layer, so that a scrape gets a response under overload too.
//! The program sends itself ten requests, prints what a scrape then reads, and ends.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::{Router, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tower::ServiceExt;
use tower_backpressure::{AdmissionLayer, QueueBounds};

const MAX_SCRAPE_BYTES: usize = 1024 * 1024;
/// The alert `BackpressureTailGrows` of docs/operations needs buckets, and not quantiles.
const PERMIT_BUCKETS_SECONDS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let permit_seconds = Matcher::Full("backpressure_permit_seconds".into());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(permit_seconds, &PERMIT_BUCKETS_SECONDS)?
        .build_recorder();
    let prometheus = recorder.handle();
    metrics::set_global_recorder(recorder)?;

    // After the recorder: a layer registers its metrics when it is made.
    let admission = AdmissionLayer::fixed("api", 2).queue(QueueBounds::NONE);
    let work = || async { tokio::time::sleep(Duration::from_millis(50)).await };
    let app = Router::new()
        .route("/", get(work))
        .layer(admission)
        .route("/metrics", get(async move || prometheus.render()));

    let burst: Vec<_> = (0..10).map(|_| tokio::spawn(app.clone().oneshot(request("/")))).collect();
    for response in burst {
        response.await??;
    }
    let scrape = app.oneshot(request("/metrics")).await?;
    let text = to_bytes(scrape.into_body(), MAX_SCRAPE_BYTES).await?;
    print!("{}", String::from_utf8_lossy(&text));
    Ok(())
}

fn request(path: &'static str) -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = http::Uri::from_static(path);
    request
}

// cargo run -p backpressure-examples --example prometheus
//
// prints: backpressure_requests_total{policy="api",result="shed",reason="limit"} 8
