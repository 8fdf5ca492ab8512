//! A server that an operator runs: readiness, pressure, a fallback, a page of its own for rejections, and a
//! drain before the process ends.
//!
//! `/` takes a second and the limit is 2. Under pressure its answer is shorter; beyond the limit and the
//! queue `/cached` answers from memory, while `/orders` rejects.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{Request, Response, StatusCode};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower::service_fn;
use tower_backpressure::{AdmissionLayer, BulkheadLayer, Pressure, QueueBounds};
use tower_backpressure::{FallbackLayer, Handle};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let admission = AdmissionLayer::fixed("api", 2)
        .queue(QueueBounds::new(4, Duration::from_secs(10)))
        .expose_pressure(true);
    let readiness = Arc::new(admission.handle().readiness());
    let orders = BulkheadLayer::new("orders", 1).on_reject(|_head, mut response| {
        *response.body_mut() = "very busy, please try again in a moment\n".into();
        response
    });
    let cached = service_fn(async |_: Request<Body>| {
        Ok::<_, Infallible>(Response::new(Body::from("as of a minute ago\n")))
    });
    let limited = Router::new().route("/", get(page)).layer(admission);
    let with_fallback = Router::new().route("/cached", get(page)).layer(FallbackLayer::new(
        AdmissionLayer::fixed("cached", 1).expose_pressure(true),
        cached,
    ));
    let app = limited
        .merge(with_fallback)
        .route("/orders", get(order).layer(orders))
        // Outside the limits: an operator gets in however busy the service is.
        .route("/ready", get(move || probe(readiness.is_ready())))
        .route("/admin/{policy}/{operation}", post(operate));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(shutdown()).await
}

async fn page(Extension(pressure): Extension<Pressure>) -> &'static str {
    tokio::time::sleep(Duration::from_secs(1)).await;
    if pressure.is_queueing() { "the page\n" } else { "the page and recommendations\n" }
}

async fn order() -> &'static str {
    tokio::time::sleep(Duration::from_secs(1)).await;
    "ordered\n"
}

async fn probe(is_ready: bool) -> StatusCode {
    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Finds a layer by the name of its policy.
async fn operate(Path((policy, operation)): Path<(String, String)>) -> (StatusCode, String) {
    let Some(handle) = Handle::named(&policy) else {
        return (StatusCode::NOT_FOUND, "no such policy\n".into());
    };
    match operation.as_str() {
        "pause" => handle.pause(Duration::from_secs(5)),
        "stop" => handle.stop(),
        "drain" => handle.drain(),
        "resume" => handle.resume(),
        "dry-run" => handle.set_dry_run(true),
        "pin" => handle.pin(1),
        "unpin" => handle.unpin(),
        "state" => {}
        _ => return (StatusCode::NOT_FOUND, "no such operation\n".into()),
    }
    (StatusCode::OK, format!("{:?}\n", handle.snapshot()))
}

/// On ctrl-c: new requests are rejected, and those that are there are served.
async fn shutdown() {
    tokio::signal::ctrl_c().await.expect("signals can be received");
    Handle::all().iter().for_each(Handle::drain);
    for handle in Handle::all() {
        handle.drained().await;
    }
}

// cargo run -p backpressure-examples --example operations
//
// $ for n in 1 2 3 4 5 6 7 8; do curl -s localhost:3000/ & done; wait
// $ for n in 1 2 3 4; do curl -s localhost:3000/cached & done; wait
// $ for n in 1 2; do curl -si localhost:3000/orders & done; wait
// $ curl -s -X POST localhost:3000/admin/api/pause; time curl -s localhost:3000/
// $ curl -s -X POST localhost:3000/admin/api/stop; curl -si localhost:3000/; curl -si localhost:3000/ready
// $ curl -s -X POST localhost:3000/admin/api/resume
//
// prints: as of a minute ago
// prints: very busy, please try again
// prints: x-shed-reason: stopped
