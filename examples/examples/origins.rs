//! A client that sends a server no more requests at once than it can use: `OriginLimitLayer` over reqwest.
//!
//! The program starts a service that runs eight requests at once, and calls it from two hundred tasks.
//! Once a second it prints the state of the limiter: requests in flight and in the queue, and the last
//! change of the limit. Without the layer, all two hundred requests would wait at the service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Router, http::Uri, routing::get};
use reqwest::{Client, Method, Request, Url};
use tokio::sync::Semaphore;
use tower::{ServiceBuilder, ServiceExt};
use tower_backpressure::{OriginLimitLayer, RetryBudget, RetryLayer};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let address = serve().await?;
    let url: Url = format!("http://{address}/").parse()?;
    let limits = OriginLimitLayer::new("work"); // needs no configuration
    let client = ServiceBuilder::new()
        // These callers never give up. The default budget allows ten retries, and one more for every ten
        // requests.
        .layer(RetryLayer::new().max_attempts(10).budget(RetryBudget::new(1.0).reserve(1_000)))
        .layer(limits.clone())
        .service(Client::builder().retry(reqwest::retry::never()).build()?);

    for _ in 0..200 {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move {
            loop {
                let request = Request::new(Method::GET, url.clone());
                match client.clone().oneshot(request).await {
                    Ok(response) if response.status().is_success() => {
                        let _ = response.text().await; // releases the permit
                    }
                    // A rejection arrives at once; without a pause this loop would spin.
                    _ => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            }
        });
    }
    watch(&limits, &url.as_str().parse()?).await;
    Ok(())
}

/// A clone of the layer shares its limiters.
async fn watch(limits: &OriginLimitLayer, origin: &Uri) {
    for second in 1..=10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(limiter) = limits.limiter(origin) else { continue };
        let now = limiter.snapshot();
        let change = limiter.last_change().map_or("none yet".to_owned(), |last| last.to_string());
        println!(
            "{second:>2} s: {} in flight, {} queued in the client; last change: {change}",
            now.in_flight, now.queued
        );
    }
}

/// Starts a service that takes 20 ms for a request and runs eight at once, while the others wait; returns
/// its address.
async fn serve() -> std::io::Result<SocketAddr> {
    let slots = Arc::new(Semaphore::new(8));
    let work = move || {
        let slots = Arc::clone(&slots);
        async move {
            let _slot = slots.acquire().await.expect("never closed");
            tokio::time::sleep(Duration::from_millis(20)).await;
            "done"
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(work))).await });
    Ok(address)
}

// cargo run --release -p backpressure-examples --example origins

// cargo run -p backpressure-examples --example origins
//
// prints: 10 s:
