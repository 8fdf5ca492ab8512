//! Requests with a higher priority run first: `RequestInfoLayer` reads priority and deadline from the headers of
//! a request, and the queue of the admission layer inside it honours them.
//!
//! The limit is 1 and a request takes a second, so that the order can be seen.

use std::time::Duration;

use axum::http::request::Parts;
use axum::routing::get;
use axum::{Extension, Router};
use tower_backpressure::{AdmissionLayer, Priority, QueueBounds, RequestInfo, RequestInfoLayer};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let bounds = QueueBounds::new(16, Duration::from_secs(30));
    let app = Router::new()
        .route("/", get(work))
        .route("/checkout", get(work))
        .layer(AdmissionLayer::fixed("api", 1).queue(bounds))
        .layer(RequestInfoLayer::from_headers().base(by_route)); // outermost: it runs first

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

/// What the service itself says of a request. A header can lower the priority, and not raise it.
fn by_route(head: &Parts) -> RequestInfo {
    let priority = match head.uri.path() {
        "/checkout" => Priority::Critical,
        _ => Priority::Normal,
    };
    RequestInfo::default().priority(priority)
}

async fn work(Extension(info): Extension<RequestInfo>) -> String {
    tokio::time::sleep(Duration::from_secs(1)).await;
    format!("{:?} is done\n", info.priority)
}

// cargo run -p backpressure-examples --example priority
//
// Four requests that can wait, then two that cannot: the first is running already, then both critical ones
// run before the other four.
//
// $ for n in 1 2 3 4; do curl -s -H "priority: u=7" localhost:3000 & sleep 0.05; done
// $ for n in 1 2; do curl -s localhost:3000/checkout & sleep 0.05; done; wait
//
// A request whose caller waits for half a second is rejected at once, as the others take longer:
//
// $ for n in 1 2 3; do curl -s localhost:3000 & done; sleep 0.1; curl -si -H "request-timeout: 500ms" localhost:3000 | head -8; wait
//
// prints: x-shed-reason: deadline
