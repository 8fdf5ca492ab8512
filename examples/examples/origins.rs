//! A client that sends no server more than it can use: `OriginLimitLayer`, over reqwest.
//!
//! Starts a service of its own that does eight things at once and does not say so, and calls it from
//! two hundred tasks. Once a second the program prints what the layer knows: the limit it has found,
//! why, and where the others wait. Left to itself, a client would have all two hundred wait at the
//! service.

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
    let limits = OriginLimitLayer::new("work"); // nothing to tune
    let client = ServiceBuilder::new()
        // A budget for callers who never give up; the default is a tenth, and ten.
        .layer(RetryLayer::new().max_attempts(10).budget(RetryBudget::new(1.0).reserve(1_000)))
        .layer(limits.clone())
        .service(Client::builder().retry(reqwest::retry::never()).build()?);

    for _ in 0..200 {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move {
            loop {
                let request = Request::new(Method::GET, url.clone());
                match client.clone().oneshot(request).await {
                    Ok(answer) if answer.status().is_success() => {
                        let _ = answer.text().await; // its place is held until here
                    }
                    // Who is refused in the end has been refused without delay.
                    _ => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            }
        });
    }
    watch(&limits, &url.as_str().parse()?).await;
    Ok(())
}

/// A clone of the layer is a handle on the same limits.
async fn watch(limits: &OriginLimitLayer, origin: &Uri) {
    for second in 1..=10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(limiter) = limits.limiter(origin) else { continue };
        let now = limiter.snapshot();
        let why = limiter.decision().map_or("none yet".to_owned(), |last| last.to_string());
        println!(
            "{second:>2} s: {} in flight, {} waiting here; last move: {why}",
            now.in_flight, now.queued
        );
    }
}

/// A service on a port of its own: a fiftieth of a second a request, eight at once, the others wait.
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
