//! A handler that does less under pressure, so that more callers are served before any is rejected.
//!
//! The page with recommendations takes 100 ms, and the page alone 20 ms. The limit is 4, and ten requests
//! may wait. A burst of twelve requests is served without a rejection: requests that start while others wait
//! get the page alone.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::{Extension, Router, routing::get};
use tower::ServiceExt;
use tower_backpressure::{AdmissionLayer, Pressure, QueueBounds};

const MAX_PAGE_BYTES: usize = 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let admission = AdmissionLayer::fixed("shop", 4)
        .queue(QueueBounds::in_order(10, Duration::from_secs(1)))
        .expose_pressure(true); // puts a `Pressure` into the extensions of each request
    let app = Router::new().route("/", get(page)).layer(admission);

    let burst: Vec<_> = (0..12).map(|_| tokio::spawn(read_page(app.clone()))).collect();
    let (mut full, mut short) = (0, 0);
    for body in burst {
        match body.await??.as_ref() {
            b"page and recommendations" => full += 1,
            b"page" => short += 1,
            other => println!("{}", String::from_utf8_lossy(other)),
        }
    }
    println!("{full} pages with recommendations, {} pages served", full + short);
    Ok(())
}

/// Reads the page at once: a permit is held until then, and others wait for it.
async fn read_page(app: Router) -> Result<Bytes, axum::Error> {
    let Ok(response) = app.oneshot(request()).await;
    to_bytes(response.into_body(), MAX_PAGE_BYTES).await
}

async fn page(Extension(pressure): Extension<Pressure>) -> &'static str {
    if pressure.is_queueing() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        return "page";
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    "page and recommendations"
}

fn request() -> Request {
    Request::new(Body::empty())
}

// cargo run -p backpressure-examples --example degrade
//
// prints: 12 pages served
