//! All client layers around reqwest in one call: `ClientStack`.
//!
//! The program starts a service that allows a hundred requests in each two seconds, and tells all others to
//! come back when the next two seconds begin. Ten callers ask it in a loop, without the layers and with them.
//! The service counts what it gets: without the layers nearly all of it is requests that it rejects; with them
//! the callers wait until they were told to come back, and are served as much.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Router, extract::State, routing::get};
use reqwest::{Client, Method, Request, Url};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt};
use tower_backpressure::{ClientStack, CooldownLayer};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let reqwest = Client::builder().retry(reqwest::retry::never()).build()?;
    println!("without the layers:");
    ask(reqwest.clone()).await?;
    println!("with them:");
    // `backpressure_client("quota", reqwest)` is the same with all defaults.
    let cooldown = CooldownLayer::new("quota").hold(1_000, Duration::from_secs(5));
    let stack = ClientStack::new("quota").deadline(Duration::from_secs(10)).cooldown(cooldown);
    ask(stack.layer(reqwest)).await
}

/// Ten callers for ten seconds, and what the service got in each two of them.
async fn ask<S>(client: S) -> Result<(), Error>
where
    S: Service<Request, Response = reqwest::Response> + Clone + Send + 'static,
    S::Future: Send,
{
    let quota = Arc::new(Quota::default());
    let address = serve(Arc::clone(&quota)).await?;
    let url: Url = format!("http://{address}/").parse()?;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (client, url) = (client.clone(), url.clone());
        callers.spawn(async move {
            loop {
                let _ = client.clone().oneshot(Request::new(Method::GET, url.clone())).await;
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
    for second in [2, 4, 6, 8, 10] {
        sleep(Duration::from_secs(2)).await;
        let (served, rejected) = (quota.served.swap(0, Relaxed), quota.rejected.swap(0, Relaxed));
        println!("{second:>4} s: {served:>4} served, {rejected:>5} rejected");
    }
    Ok(())
}

/// The service, which counts the requests since the last line was printed.
#[derive(Debug)]
struct Quota {
    start: Instant,
    period: AtomicU64,
    used: AtomicU64,
    served: AtomicU64,
    rejected: AtomicU64,
}

impl Default for Quota {
    fn default() -> Self {
        let [period, used, served, rejected] = Default::default();
        Self { start: Instant::now(), period, used, served, rejected }
    }
}

async fn work(State(quota): State<Arc<Quota>>) -> Response {
    let now = quota.start.elapsed().as_secs() / 2;
    if quota.period.swap(now, Relaxed) != now {
        quota.used.store(0, Relaxed);
    }
    if quota.used.fetch_add(1, Relaxed) < 100 {
        quota.served.fetch_add(1, Relaxed);
        return "done".into_response();
    }
    quota.rejected.fetch_add(1, Relaxed);
    let left = 2 - quota.start.elapsed().as_secs() % 2;
    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", left.to_string())]).into_response()
}

async fn serve(quota: Arc<Quota>) -> std::io::Result<SocketAddr> {
    let app = Router::new().route("/", get(work)).with_state(quota);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

// cargo run -p backpressure-examples --example client_stack
//
// prints: 10 s:
