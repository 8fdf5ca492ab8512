//! A chain of three services, the last of which becomes ten times slower for some seconds.
//!
//! The program runs it twice, and prints how many calls of each second are served. Without layers every service
//! gives up after a second and tries three times, as is usual. The retries of three levels multiply, and the chain
//! stays down when the last service is fast again. With the layers the chain does what its last service can.
//!
//! A service in the middle does four things:
//! - `RequestInfoLayer` reads how long its caller waits, how much the request matters and how often it was sent;
//! - `RequestInfo::carry_to` puts that on the request to the next service;
//! - `ClientStack` limits, repeats and holds back requests to the next service, and `dependency` rejects a request
//!   before the handler runs while the next service would not be asked anyway;
//! - `Unavailable` tells the caller when to come back, if the next service has said so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use reqwest::{Client, Method, Request, Url};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, ServiceExt};
use tower_backpressure::client::{BackpressureClient, Unavailable};
use tower_backpressure::{AdmissionLayer, ClientStack, RequestInfo, RequestInfoLayer, queued};

type Error = Box<dyn std::error::Error + Send + Sync>;

const CALLS_PER_SECOND: u32 = 300;
const SECONDS: u32 = 16;
/// How many requests the last service works on at once.
const SLOTS: usize = 16;
/// The seconds in which the last service is slow.
const SLOW: std::ops::Range<u32> = 3..8;

#[tokio::main]
async fn main() -> Result<(), Error> {
    println!("served of {CALLS_PER_SECOND} calls a second; the last service is slow in {SLOW:?}");
    let address = serve_bare(serve_bare(serve_last(None).await?).await?).await?;
    let next = Arc::new(Next { url: url(address)?, client: reqwest_client()? });
    print("without layers", move || {
        let next = Arc::clone(&next);
        async move { next.try_three_times().await == StatusCode::OK }
    })
    .await;

    let admission = AdmissionLayer::fixed("last", SLOTS);
    let address = serve("second", serve_last(Some(admission)).await?).await?;
    let address = serve("first", address).await?;
    let client = ClientStack::new("client").attempt_timeout(Duration::from_secs(1));
    let (client, url) = (client.layer(reqwest_client()?), url(address)?);
    print("with layers", move || {
        let client = client.clone();
        let mut request = Request::new(Method::GET, url.clone());
        let deadline = Instant::now() + Duration::from_secs(3);
        RequestInfo::default().deadline(deadline).carry_to(&mut request);
        async move { client.oneshot(request).await.is_ok_and(|it| it.status() == StatusCode::OK) }
    })
    .await;
    Ok(())
}

/// Makes calls at a constant rate and prints how many of each second were served.
async fn print<F>(name: &str, call: impl Fn() -> F)
where
    F: Future<Output = bool> + Send + 'static,
{
    let start = Instant::now();
    let served: Arc<Vec<AtomicU32>> = Arc::new((0..SECONDS).map(|_| AtomicU32::new(0)).collect());
    for index in 0..SECONDS * CALLS_PER_SECOND {
        sleep_until(start + Duration::from_secs(1) * index / CALLS_PER_SECOND).await;
        let (call, served) = (call(), Arc::clone(&served));
        tokio::spawn(async move {
            if call.await {
                served[(index / CALLS_PER_SECOND) as usize].fetch_add(1, Relaxed);
            }
        });
    }
    sleep(Duration::from_secs(4)).await;
    let served: Vec<_> = served.iter().map(|count| count.load(Relaxed)).collect();
    println!("{name:>15}: {served:?}");
}

/// The service in the middle, with the layers.
async fn serve(name: &str, next: SocketAddr) -> Result<SocketAddr, Error> {
    let stack = ClientStack::new(name);
    let url = url(next)?;
    let origin: Uri = url.as_str().parse()?;
    let next = Arc::new(Next { url, client: stack.layer(reqwest_client()?) });
    let app = Router::new()
        .route("/", get(forward).layer(stack.dependency(&origin)))
        // It only waits for the next service, whose limit is in the stack: this bounds memory.
        .layer(AdmissionLayer::fixed(name, 1_000))
        .layer(RequestInfoLayer::from_headers())
        .with_state(next);
    listen(app).await
}

async fn forward(
    State(next): State<Arc<Next<BackpressureClient<Client>>>>,
    Extension(info): Extension<RequestInfo>,
) -> Response {
    sleep(Duration::from_millis(2)).await;
    let mut request = Request::new(Method::GET, next.url.clone());
    info.carry_to(&mut request);
    match next.client.clone().oneshot(request).await {
        Ok(response) => match Unavailable::of(&response) {
            Some(unavailable) => unavailable.into_response(),
            None => response.status().into_response(),
        },
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// The last service has sixteen slots of 20 ms: 800 requests a second.
async fn serve_last(admission: Option<AdmissionLayer>) -> Result<SocketAddr, Error> {
    let (slots, start) = (Arc::new(Semaphore::new(SLOTS)), Instant::now());
    let work = move || {
        let slots = Arc::clone(&slots);
        async move {
            let _slot = queued(slots.acquire()).await.expect("never closed");
            let is_slow = SLOW.contains(&(start.elapsed().as_secs() as u32));
            sleep(Duration::from_millis(if is_slow { 200 } else { 20 })).await;
        }
    };
    let app = Router::new().route("/", get(work));
    match admission {
        Some(layer) => listen(app.layer(layer).layer(RequestInfoLayer::from_headers())).await,
        None => listen(app).await,
    }
}

/// The service in the middle, without layers.
async fn serve_bare(next: SocketAddr) -> Result<SocketAddr, Error> {
    let next = Arc::new(Next { url: url(next)?, client: reqwest_client()? });
    let forward = |State(next): State<Arc<Next<Client>>>| async move {
        sleep(Duration::from_millis(2)).await;
        next.try_three_times().await
    };
    listen(Router::new().route("/", get(forward)).with_state(next)).await
}

struct Next<C> {
    url: Url,
    client: C,
}

impl Next<Client> {
    async fn try_three_times(&self) -> StatusCode {
        for _ in 0..3 {
            match self.client.get(self.url.clone()).send().await {
                Ok(response) if response.status() == StatusCode::OK => return StatusCode::OK,
                _ => {}
            }
        }
        StatusCode::BAD_GATEWAY
    }
}

fn reqwest_client() -> reqwest::Result<Client> {
    let never = reqwest::retry::never();
    Client::builder().retry(never).timeout(Duration::from_secs(1)).build()
}

fn url(address: SocketAddr) -> Result<Url, Error> {
    Ok(format!("http://{address}/").parse()?)
}

async fn listen(app: Router) -> Result<SocketAddr, Error> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

// cargo run -p backpressure-examples --example chain
//
// prints: without layers: [300
