//! Clients that speak HTTP by a library: plain ones, ones that leave, and ones that reset streams.

use super::load::Load;
use super::raw;
use super::tally::End;
use crate::client::target;
use crate::pool::Pool;
use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Version};
use http_body_util::Full;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tower::BoxError;

/// Requests of one kind that may be open at once; a generator without a bound would measure its own memory.
const MAX_OPEN: usize = 400;
/// Clients at once of each kind that stalls.
const STALLING_CLIENTS: usize = 10;
/// How long a client waits for a response.
const PATIENCE: Duration = Duration::from_secs(5);
/// The share of the requests of each kind.
const PLAIN: f64 = 0.62;
const LEAVING: f64 = 0.1;
const RESETTING: f64 = 0.2;
/// In batches.
const PIPELINING: f64 = 0.08;

/// Requests a second when no client waits for another: four at a time.
pub(super) async fn capacity(pool: &Pool) -> f64 {
    const MEASURED: Duration = Duration::from_secs(2);
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let pool = pool.clone();
        clients.spawn(async move {
            let mut served = 0_u32;
            while started.elapsed() < MEASURED {
                let response = pool.clone().send(get(pool.address())).await;
                served += u32::from(response.is_ok_and(|response| response.status().is_success()));
            }
            served
        });
    }
    let served: u32 = clients.join_all().await.iter().sum();
    f64::from(served.max(1)) / started.elapsed().as_secs_f64()
}

/// Starts all clients, which end when the set is dropped.
pub(super) fn start(load: &Load) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    clients.spawn(every(load.clone(), PLAIN, plain));
    clients.spawn(every(load.clone(), LEAVING, leaving));
    clients.spawn(every(load.clone(), PIPELINING / raw::PIPELINED as f64, raw::pipelining));
    for _ in 0..4 {
        clients.spawn(resetting(load.clone(), RESETTING / 4.0));
    }
    for _ in 0..STALLING_CLIENTS {
        clients.spawn(raw::forever(load.clone(), raw::slow_reader));
        clients.spawn(raw::forever(load.clone(), raw::slow_sender));
    }
    clients.spawn(raw::forever(load.clone(), raw::malformed));
    clients
}

/// Starts this share of the requests, in time whatever became of earlier ones.
async fn every<F, R>(load: Load, share: f64, send: F)
where
    F: Fn(Load) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(MAX_OPEN));
    let mut ticks = interval(Duration::from_secs_f64(1.0 / (load.rate * share)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut requests = JoinSet::new();
    loop {
        ticks.tick().await;
        while requests.try_join_next().is_some() {}
        if let Ok(room) = Arc::clone(&room).try_acquire_owned() {
            let request = send(load.clone());
            requests.spawn(async move {
                request.await;
                drop(room);
            });
        }
    }
}

fn get(address: SocketAddr) -> Request<Full<Bytes>> {
    let request = Request::get("/work").header("host", address.to_string());
    request.body(Full::default()).expect("a request")
}

async fn plain(load: Load) {
    match timeout(PATIENCE, load.pool.clone().send(get(load.address))).await {
        Ok(Ok(response)) => load.tally.responded("plain", response.status(), response.headers()),
        Ok(Err(_)) => load.tally.count("plain", End::Broken),
        Err(_) => load.tally.count("plain", End::Left),
    }
}

/// Closes its connection before the response, most of the time.
async fn leaving(load: Load) {
    let patience = Duration::from_micros(fastrand::u64(0..30_000));
    match timeout(patience, load.pool.clone().send(get(load.address))).await {
        Ok(Ok(response)) => load.tally.responded("leaving", response.status(), response.headers()),
        Ok(Err(_)) => load.tally.count("leaving", End::Broken),
        Err(_) => load.tally.count("leaving", End::Left),
    }
}

/// Many streams on one HTTP/2 connection, of which half are reset at a random moment.
async fn resetting(load: Load, share: f64) {
    let mut rng = Rng::new();
    loop {
        if let Ok(connection) = connect_http2(load.address).await {
            streams(&load, connection, share, &mut rng).await;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn streams(load: &Load, mut connection: SendRequest<Full<Bytes>>, share: f64, rng: &mut Rng) {
    let gap = Duration::from_secs_f64(1.0 / (load.rate * share));
    let uri = target(load.address, "/work");
    let mut ticks = interval(gap);
    let mut requests = JoinSet::new();
    while connection.ready().await.is_ok() {
        ticks.tick().await;
        while requests.try_join_next().is_some() {}
        if requests.len() >= MAX_OPEN {
            continue;
        }
        let request = Request::get(uri.clone()).version(Version::HTTP_2).body(Full::default());
        let response = connection.send_request(request.expect("a request"));
        let tally = load.tally.clone();
        let resets = rng.bool().then(|| Duration::from_micros(rng.u64(0..20_000)));
        requests.spawn(async move {
            match timeout(resets.unwrap_or(PATIENCE), response).await {
                Ok(Ok(response)) => tally.responded("h2", response.status(), response.headers()),
                Ok(Err(_)) => tally.count("h2", End::Broken),
                Err(_) => tally.count("h2", End::Left),
            }
        });
    }
}

async fn connect_http2(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, BoxError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (requests, driver) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(async move { _ = driver.await });
    Ok(requests)
}
