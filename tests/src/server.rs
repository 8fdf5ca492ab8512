//! Servers on the loopback interface.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
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

/// Serves a router as axum does, on a port of its own.
pub async fn serve(router: Router) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Serves any service with hyper, one task a connection; the layer is applied to each connection.
///
/// Unlike axum it lets a service fail.
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
                // It fails when the client leaves or the service does, as it should.
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(socket), service).await;
            });
        }
    });
    address
}

/// Waits until nobody is in flight and nobody waits.
///
/// Nothing tells a client when the server has noticed that it left, so this looks again and again.
///
/// # Panics
/// When somebody is still there after half a minute.
pub async fn all_gone(layer: &AdmissionLayer) {
    for _ in 0..30_000 {
        let now = layer.snapshot();
        if (now.in_flight, now.queued) == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("somebody never left: {:?}", layer.snapshot());
}

/// Waits until so many are in flight.
///
/// # Panics
/// When they are not after half a minute.
pub async fn in_flight(layer: &AdmissionLayer, count: usize) {
    for _ in 0..30_000 {
        if layer.snapshot().in_flight == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("expected {count} in flight: {:?}", layer.snapshot());
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    (listener, address)
}
