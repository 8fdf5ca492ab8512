//! A client over hyper-util that obeys `Retry-After`, without reqwest.
//!
//! With the feature `hyper` the layer tells a request that was not sent from one that may have been carried
//! out, so that a `POST` is repeated only after the former. Four requests go to a service that runs two at once.

use std::net::SocketAddr;
use std::time::Duration;

use axum::{Router, routing::post};
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt};
use tower_backpressure::{Attempts, BulkheadLayer, OriginLimitLayer, RetryLayer};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let address = serve().await?;
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<axum::body::Bytes>>();
    let client = ServiceBuilder::new()
        .layer(RetryLayer::named("orders").max_attempts(5))
        .layer(OriginLimitLayer::new("orders"))
        .service(hyper);

    let requests: Vec<_> = (0..4)
        .map(|_| {
            let request = Request::post(format!("http://{address}/orders"));
            let request = request.body(Full::from("an order"));
            request.map(|request| tokio::spawn(client.clone().oneshot(request)))
        })
        .collect::<Result<_, _>>()?;
    let mut ordered = 0;
    for request in requests {
        let response = request.await??;
        println!("{} after {} attempts", response.status(), Attempts::of(response.extensions()).0);
        ordered += usize::from(response.status().is_success());
    }
    println!("{ordered} of 4 orders made");
    Ok(())
}

/// Starts a service that takes 100 ms for an order and runs two at once; returns its address.
async fn serve() -> std::io::Result<SocketAddr> {
    let order = || async { tokio::time::sleep(Duration::from_millis(100)).await };
    let app = Router::new().route("/orders", post(order)).layer(BulkheadLayer::new("orders", 2));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

// cargo run -p backpressure-examples --example hyper_client
//
// prints: 4 of 4 orders made
