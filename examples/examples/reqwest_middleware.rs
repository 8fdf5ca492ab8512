//! The layers around a client of `reqwest-middleware`, whose own middleware runs for each attempt.
//!
//! A `ClientWithMiddleware` is a `tower::Service`, so the layers go around it as they go around a
//! `reqwest::Client`. The middleware here signs each attempt. Four orders go to a service that runs two at once
//! and accepts each signature once: a retry needs a new one.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{Router, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use http::Extensions;
use reqwest::{Method, Request, Response};
use reqwest_middleware::{ClientBuilder, Next};
use tower::{ServiceBuilder, ServiceExt};
use tower_backpressure::{Attempts, BulkheadLayer, OriginLimitLayer, RetryLayer};

type Error = Box<dyn std::error::Error + Send + Sync>;
type SignaturesSeen = Arc<Mutex<HashSet<String>>>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let address = serve().await?;
    let reqwest = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
    let client = ServiceBuilder::new()
        // Its errors wrap those of reqwest, so their type has to be named.
        .layer(RetryLayer::named("orders").error_type::<reqwest_middleware::Error>())
        .layer(OriginLimitLayer::new("orders"))
        .service(ClientBuilder::new(reqwest).with(sign).build());

    let orders: Vec<_> = (0..4)
        .map(|_| {
            let url = format!("http://{address}/orders").parse();
            url.map(|url| tokio::spawn(client.clone().oneshot(Request::new(Method::POST, url))))
        })
        .collect::<Result<_, _>>()?;
    let (mut made, mut attempts) = (0, 0);
    for order in orders {
        let response = order.await??;
        made += usize::from(response.status().is_success());
        attempts += Attempts::of(response.extensions()).0;
    }
    println!("{made} of 4 orders made in {attempts} attempts, each with a signature of its own");
    Ok(())
}

/// The middleware: puts a new signature on each attempt.
fn sign<'a>(
    mut request: Request,
    extensions: &'a mut Extensions,
    next: Next<'a>,
) -> Pin<Box<dyn Future<Output = reqwest_middleware::Result<Response>> + Send + 'a>> {
    request.headers_mut().insert("x-signature", fastrand::u64(..).into());
    Box::pin(next.run(request, extensions))
}

/// Starts a service that takes 100 ms for an order and runs two at once; returns its address.
async fn serve() -> std::io::Result<SocketAddr> {
    async fn order(State(seen): State<SignaturesSeen>, headers: HeaderMap) -> StatusCode {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let signature = headers.get("x-signature").and_then(|it| it.to_str().ok());
        let mut seen = seen.lock().expect("no holder of the lock panics");
        match signature.is_some_and(|signature| seen.insert(signature.to_owned())) {
            true => StatusCode::CREATED,
            false => StatusCode::FORBIDDEN,
        }
    }
    let app = Router::new()
        .route("/orders", post(order).layer(BulkheadLayer::new("orders", 2)))
        .with_state(SignaturesSeen::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

// cargo run -p backpressure-examples --example reqwest_middleware
//
// prints: 4 of 4 orders made in
