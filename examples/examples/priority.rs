//! Requests with a higher priority run first: a middleware sets the priority of each request, and the queue
//! of the admission layer inside it honours it.
//!
//! The limit is 1 and a request takes a second, so that the order can be seen.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use tower_backpressure::{AdmissionLayer, Priority, QueueBounds};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let bounds = QueueBounds::new(16, Duration::from_secs(30));
    let app = Router::new()
        .route("/", get(work))
        .layer(AdmissionLayer::fixed("api", 1).queue(bounds))
        .layer(from_fn(prioritise)); // outermost: it runs before the request is queued

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

/// Takes the priority from a header. Where callers are not trusted, derive it from their identity instead.
async fn prioritise(mut request: Request, next: Next) -> Response {
    let priority = match request.headers().get("x-priority").map(|value| value.as_bytes()) {
        Some(b"high") => Priority::Critical,
        Some(b"low") => Priority::Sheddable,
        _ => Priority::Normal,
    };
    request.extensions_mut().insert(priority);
    next.run(request).await
}

async fn work(Extension(priority): Extension<Priority>) -> String {
    tokio::time::sleep(Duration::from_secs(1)).await;
    format!("{priority:?} is done\n")
}

// cargo run -p backpressure-examples --example priority
//
// Four requests with low priority, then two with high: the first is running already, then both high ones
// run before the other low ones.
//
// for p in low low low low high high; do curl -s -H "x-priority: $p" localhost:3000 & sleep 0.05; done; wait
