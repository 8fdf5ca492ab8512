//! Servers on the loopback interface.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{Layer, Service};
use tower_backpressure::AdmissionLayer;

type BoxError = Box<dyn Error + Send + Sync>;

/// Serves a router with axum on a free port.
pub async fn serve(router: Router) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Serves a handler at `/` behind a layer that reads uploads of any size and responds with their length.
pub async fn serve_uploads(layer: AdmissionLayer) -> SocketAddr {
    let handler = post(async |body: Bytes| body.len().to_string());
    let app = Router::new().route("/", handler).layer(DefaultBodyLimit::disable());
    serve(app.layer(layer)).await
}

/// Serves a service with hyper in one task per connection; the layer is applied anew to each connection.
///
/// Unlike axum, hyper accepts a service that returns errors.
pub async fn serve_each<L, S, B>(layer: L, service: S) -> SocketAddr
where
    L: Layer<S> + Send + 'static,
    L::Service: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    <L::Service as Service<Request<Incoming>>>::Future: Send,
    <L::Service as Service<Request<Incoming>>>::Error: Into<BoxError>,
    S: Clone + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = TowerToHyperService::new(layer.layer(service.clone()));
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                // An error is expected: the client disconnects or the service fails.
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(socket), service).await;
            });
        }
    });
    address
}

/// Waits until no request is in flight or queued.
///
/// A client is not told when the server notices a disconnect, so this polls the snapshot.
///
/// # Panics
/// When a request remains after half a minute.
pub async fn wait_until_idle(layer: &AdmissionLayer) {
    for _ in 0..30_000 {
        let now = layer.snapshot();
        if (now.in_flight, now.queued) == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("requests remain: {:?}", layer.snapshot());
}

/// Waits until `count` requests are in flight.
///
/// # Panics
/// When the number differs after half a minute.
pub async fn wait_for_in_flight(layer: &AdmissionLayer, count: usize) {
    for _ in 0..30_000 {
        if layer.snapshot().in_flight == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("expected {count} in flight: {:?}", layer.snapshot());
}

/// Listens on a free port.
///
/// # Panics
/// When no port is free.
pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    (listener, address)
}
