//! A client that obeys `Retry-After`: `RetryLayer` over reqwest.
//!
//! The program starts a service that runs ten requests at once, and sends it a hundred at the same time.
//! The service rejects most of them with a `Retry-After`. The client sends each again when it was told
//! to, with jitter, and all are served.

use std::net::SocketAddr;
use std::time::Duration;

use axum::{Router, routing::get};
use reqwest::{Client, Method, Request};
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};
use tower_backpressure::{Attempts, BulkheadLayer, RetryBudget, RetryLayer};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let address = serve().await?;
    let client = ServiceBuilder::new()
        // All requests start at once and most need a retry. The default budget allows ten retries, and one
        // more for every ten requests.
        .layer(RetryLayer::new().max_attempts(10).budget(RetryBudget::new(1.0).reserve(500)))
        .service(Client::builder().retry(reqwest::retry::never()).build()?);

    let start = Instant::now();
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let (client, url) = (client.clone(), format!("http://{address}/").parse());
            tokio::spawn(async move {
                let response = client.oneshot(Request::new(Method::GET, url?)).await?;
                let attempts = Attempts::of(response.extensions()).0;
                Ok::<_, Error>((response.status(), attempts, start.elapsed()))
            })
        })
        .collect();
    for (number, request) in requests.into_iter().enumerate() {
        let (status, attempts, after) = request.await??;
        println!("request {number:>2}: {status} after {attempts} attempts, {after:.1?}");
    }
    Ok(())
}

/// Starts a service that takes 100 ms for a request and runs ten at once; returns its address.
async fn serve() -> std::io::Result<SocketAddr> {
    let work = || async { tokio::time::sleep(Duration::from_millis(100)).await };
    let app = Router::new().route("/", get(work)).layer(BulkheadLayer::new("work", 10));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

// cargo run -p backpressure-examples --example client
//
// prints: request 99: 200 OK after
