//! Rejected uploads: the client receives the rejection while it sends, and a small body leaves the
//! connection open.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use backpressure_tests::client::{Connection, request, text};
use backpressure_tests::raw_http1::{header, read_response};
use backpressure_tests::server::{serve, serve_each, serve_uploads};
use bytes::Bytes;
use http::{Method, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tower::service_fn;
use tower_backpressure::{AdmissionLayer, BulkheadLayer, Limiter, QueueBounds};

const UPLOAD_BYTES: usize = 10_000_000;
const UPLOADS: usize = 100;
/// Of [`UPLOADS`] rejections, those that must be received.
const MIN_RECEIVED: usize = 99;

/// An axum server that accepts uploads, and its limiter with a limit of one.
async fn axum_server() -> (SocketAddr, Limiter) {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let limiter = layer.limiter().clone();
    (serve_uploads(layer).await, limiter)
}

/// The same with hyper alone, whose requests and responses have bodies of different types.
async fn hyper_server() -> (SocketAddr, Limiter) {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let layer = layer.request_body::<Incoming>();
    let limiter = layer.limiter().clone();
    let handler = service_fn(async |request: http::Request<Incoming>| {
        let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
        let length = body.unwrap_or_default().to_string();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(length))))
    });
    (serve_each(layer, handler).await, limiter)
}

/// Sends [`UPLOADS`] uploads, each on a new connection, and checks that their rejections are received.
async fn assert_hyper_receives_rejections(address: SocketAddr, version: Version) {
    let body = Bytes::from(vec![b'x'; UPLOAD_BYTES]);
    let mut received = 0;
    for _ in 0..UPLOADS {
        let mut connection = Connection::open(address, version).await;
        let upload = request(Method::POST, "/").map(|_| Full::new(body.clone()));
        let Ok(response) = connection.send(upload).await else { continue };
        let rejected = response.status() == StatusCode::SERVICE_UNAVAILABLE;
        let complete = response.into_body().collect().await.is_ok();
        received += usize::from(rejected && complete);
    }
    assert!(received >= MIN_RECEIVED, "{version:?}: {received} of {UPLOADS}");
}

#[tokio::test]
async fn hyper_receives_the_rejection_of_large_uploads() {
    for (address, limiter) in [axum_server().await, hyper_server().await] {
        let _permit = limiter.try_acquire().expect("a free permit");
        assert_hyper_receives_rejections(address, Version::HTTP_11).await;
        assert_hyper_receives_rejections(address, Version::HTTP_2).await;
    }
}

#[tokio::test]
async fn reqwest_receives_the_rejection_of_large_uploads() {
    let (address, limiter) = axum_server().await;
    let _permit = limiter.try_acquire().expect("a free permit");
    let client = reqwest::Client::builder().retry(reqwest::retry::never()).no_proxy();
    let client = client.build().expect("valid options");
    let (url, body) = (format!("http://{address}/"), Bytes::from(vec![b'x'; UPLOAD_BYTES]));
    let mut received = 0;
    for _ in 0..UPLOADS {
        let Ok(response) = client.post(&url).body(body.clone()).send().await else { continue };
        let rejected = response.status() == StatusCode::SERVICE_UNAVAILABLE;
        received += usize::from(rejected && response.bytes().await.is_ok());
    }
    assert!(received >= MIN_RECEIVED, "{received} of {UPLOADS}");
}

/// Sends a head and a millisecond later the body; returns the head of the response.
async fn post_in_two_steps(socket: &mut TcpStream) -> String {
    let head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 5\r\n\r\n";
    socket.write_all(head).await.expect("an open connection");
    socket.flush().await.expect("an open connection");
    tokio::time::sleep(Duration::from_millis(1)).await;
    socket.write_all(b"hello").await.expect("an open connection");
    let (head, body) = read_response(socket).await;
    assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok() || body == b"5");
    head
}

/// Sends small requests on one connection; each is rejected and does not close it.
async fn assert_rejected_and_kept_open(socket: &mut TcpStream, requests: usize) {
    for _ in 0..requests {
        let head = post_in_two_steps(socket).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(header(&head, "connection"), None, "{head}");
    }
}

#[tokio::test]
async fn a_rejected_request_whose_small_body_follows_its_head_leaves_the_connection_open() {
    for (address, limiter) in [axum_server().await, hyper_server().await] {
        for _ in 0..60 {
            let permit = limiter.try_acquire().expect("a free permit");
            let mut socket = TcpStream::connect(address).await.expect("the server listens");
            socket.set_nodelay(true).expect("a connected socket");
            assert_rejected_and_kept_open(&mut socket, 2).await;
            drop(permit);
            let head = post_in_two_steps(&mut socket).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            while limiter.snapshot().in_flight > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_rejected_upload_over_http_2_leaves_the_connection_open() {
    let (address, limiter) = axum_server().await;
    let permit = limiter.try_acquire().expect("a free permit");
    let mut connection = Connection::open(address, Version::HTTP_2).await;
    let upload = || request(Method::POST, "/").map(|_| vec![b'x'; UPLOAD_BYTES].into());
    for _ in 0..3 {
        let rejected = connection.send(upload()).await.expect("a response");
        assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(text(rejected).await.contains("at capacity"));
    }
    drop(permit);
    let response = connection.send(upload()).await.expect("a response on the same connection");
    assert_eq!(text(response).await, UPLOAD_BYTES.to_string());
}

#[tokio::test]
async fn a_bulkhead_on_a_route_reads_the_bodies_it_rejects() {
    let layer = BulkheadLayer::new("payments", 1);
    let limiter = layer.limiter().clone();
    let app = Router::new().route("/", post(async || "paid").layer(layer));
    let address = serve(app).await;
    let _permit = limiter.try_acquire().expect("a free permit");
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    assert_rejected_and_kept_open(&mut socket, 10).await;
}

#[tokio::test]
async fn directly_stacked_layers_read_bodies_of_a_named_type() {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let layer = layer.request_body::<axum::body::Body>();
    let limiter = layer.limiter().clone();
    let both = tower::ServiceBuilder::new().layer(layer).layer(BulkheadLayer::new("part", 1));
    let app = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
    let address = serve(app.layer(both)).await;
    let _permit = limiter.try_acquire().expect("a free permit");
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    assert_rejected_and_kept_open(&mut socket, 10).await;
}
