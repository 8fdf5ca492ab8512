//! A client that listens: reqwest behind `RetryLayer`.
//!
//! Starts a service of its own that can do ten requests at once, and sends it a hundred in the same
//! moment. The service turns most of them away and says when to come back; the clients come back
//! then, each at a time of its own, and are served.

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
        // A budget for a crowd that all comes at once; the default is a tenth, and ten.
        .layer(RetryLayer::new().max_attempts(10).budget(RetryBudget::new(1.0).reserve(500)))
        .service(Client::builder().retry(reqwest::retry::never()).build()?);

    let begun = Instant::now();
    let users: Vec<_> = (0..100)
        .map(|_| {
            let (client, url) = (client.clone(), format!("http://{address}/").parse());
            tokio::spawn(async move {
                let response = client.oneshot(Request::new(Method::GET, url?)).await?;
                let attempts = Attempts::of(response.extensions()).0;
                Ok::<_, Error>((response.status(), attempts, begun.elapsed()))
            })
        })
        .collect();
    for (user, answer) in users.into_iter().enumerate() {
        let (status, attempts, after) = answer.await??;
        println!("user {user:>2}: {status} after {attempts} attempts, {after:.1?}");
    }
    Ok(())
}

/// A service on a port of its own: a tenth of a second a request, ten at once.
async fn serve() -> std::io::Result<SocketAddr> {
    let work = || async { tokio::time::sleep(Duration::from_millis(100)).await };
    let app = Router::new().route("/", get(work)).layer(BulkheadLayer::new("work", 10));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

// cargo run -p backpressure-examples --example client
