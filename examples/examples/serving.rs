//! A server with bounds that come before any layer: connections, time to send a head, streams of a connection.
//!
//! A layer sees a request once its head has been read. Against clients that open connections and send nothing,
//! hyper-util's builder has time-outs, and a semaphore bounds connections. An operator's port has a bound of its
//! own, so that probes and the admin page get in when all other connections are in use.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tower_backpressure::{AdmissionLayer, RequestInfoLayer};

/// What memory bears at about 20 kB a connection. Further connections wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 10_000;
const MAX_OPERATOR_CONNECTIONS: usize = 16;
/// A client that takes longer to send the head of a request is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection: one client cannot fill the queue.
const MAX_STREAMS: u32 = 100;
/// After this time, connections are dropped with what is in flight on them.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let admission = AdmissionLayer::adaptive("api");
    let handle = admission.handle().clone();
    let readiness = Arc::new(handle.readiness());
    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .layer(admission)
        .layer(RequestInfoLayer::from_headers().timeout(Duration::from_secs(10)))
        .with_state(());
    let state = handle.clone();
    let operator = Router::new()
        .route("/live", get(async || "alive\n"))
        .route("/ready", get(async move || probe(readiness.is_ready())))
        .route("/state", get(async move || format!("{:?}\n", state.snapshot())))
        .with_state(());

    let (stop, stopped) = watch::channel(false);
    let public = TcpListener::bind("127.0.0.1:3000").await?;
    let private = TcpListener::bind("127.0.0.1:3001").await?;
    println!("http://127.0.0.1:3000, and http://127.0.0.1:3001 for the operator");
    let public = tokio::spawn(serve(public, app, MAX_CONNECTIONS, stopped.clone()));
    let private = tokio::spawn(serve(private, operator, MAX_OPERATOR_CONNECTIONS, stopped));

    terminated().await?;
    // New requests are told to come back elsewhere while those that are there are served.
    handle.drain();
    let _ = timeout(DRAIN_TIMEOUT, handle.drained()).await;
    let _ = stop.send(true);
    let _ = timeout(DRAIN_TIMEOUT, async { tokio::join!(public, private) }).await;
    Ok(())
}

/// The status decides: a load balancer does not read the body.
fn probe(is_ready: bool) -> StatusCode {
    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Returns on SIGTERM, which Kubernetes and systemd send, and on ctrl-c.
async fn terminated() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

/// Serves until told to stop, then closes each connection after its requests in flight.
async fn serve(listener: TcpListener, app: Router, max: usize, mut stop: watch::Receiver<bool>) {
    let (slots, graceful) = (Arc::new(Semaphore::new(max)), GracefulShutdown::new());
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    let accept = async {
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("never closed");
            // Out of file descriptors, for example: some connection has to end first.
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let service = TowerToHyperService::new(app.clone());
            let connection = builder.serve_connection(TokioIo::new(socket), service).into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                let _slot = slot;
                let _ = connection.await;
            });
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stop.wait_for(|&stopped| stopped) => {}
    }
    graceful.shutdown().await;
}

// cargo run -p backpressure-examples --example serving
//
// $ curl -s localhost:3000; curl -si localhost:3001/ready
//
// A client that sends half a head is closed after ten seconds:
//
// $ bash -c 'exec 3<>/dev/tcp/localhost/3000; printf "GET / HTTP/1.1\r\nhost:" >&3; time cat <&3'
//
// prints: hello
// prints: HTTP/1.1 200 OK
// prints: real
