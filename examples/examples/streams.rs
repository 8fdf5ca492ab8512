//! Streams beside requests: event streams have a cap of their own, a long poll gives its permit back while it
//! waits, and work that outlives its response stays bounded.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Response, header};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http_body_util::channel::Channel;
use tower_backpressure::Handle;
use tower_backpressure::{AdmissionLayer, PermitHandle, QueueBounds, StreamPolicy};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let admission = AdmissionLayer::fixed("api", 2)
        .queue(QueueBounds::NONE)
        .streams(StreamPolicy::Watch(3))
        .expose_permit(true);
    let handle = admission.handle().clone();
    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/events", get(move || events(handle.clone())))
        .route("/poll", get(long_poll))
        .route("/reports", post(report))
        .layer(admission);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

/// An event a second, until the reader leaves or the service is drained.
async fn events(handle: Handle) -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        let send_all = async {
            while sender.send_data("data: tick\n\n".into()).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = send_all => {}
            () = handle.stopping() => {}
        }
    });
    let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
    response.body(Body::new(body)).expect("a valid header")
}

/// Waits for an event, and does nothing meanwhile.
async fn long_poll(Extension(permit): Extension<PermitHandle>) -> &'static str {
    permit.release();
    tokio::time::sleep(Duration::from_secs(20)).await;
    "nothing new\n"
}

/// Answers at once; the work holds the permit until it is done.
async fn report(Extension(permit): Extension<PermitHandle>) -> &'static str {
    let held = permit.hold();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(held);
    });
    "it will be ready in five seconds\n"
}

// cargo run -p backpressure-examples --example streams
//
// Three of five event streams are served, and all of the other requests:
//
// $ for n in 1 2 3 4 5; do curl -sN -m 10 -o /dev/null -w "%{http_code}\n" localhost:3000/events & done
// $ for n in 1 2 3 4 5; do curl -s localhost:3000/poll & done; sleep 1; curl -s localhost:3000; wait
//
// The third report is rejected, as two are being made:
//
// $ for n in 1 2 3; do curl -s -X POST localhost:3000/reports; done
//
// prints: 503
