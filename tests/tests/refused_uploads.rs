//! A refusal arrives, whatever the client still sends, and the connection is kept or announced closed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use backpressure_tests::client::{Connection, request, text};
use backpressure_tests::raw::{header, read_response};
use backpressure_tests::server::{serve, serve_each};
use bytes::Bytes;
use http::{Method, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tower::service_fn;
use tower_backpressure::{AdmissionLayer, BulkheadLayer, Limiter, QueueBounds};

const UPLOAD: usize = 10_000_000;
const UPLOADS: usize = 100;
/// Of a hundred.
const ARRIVE: usize = 99;

/// A server whose handler reads what it gets, and the limiter in front of it.
async fn axum_server() -> (SocketAddr, Limiter) {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let limiter = layer.limiter().clone();
    let app = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
    let app = app.layer(axum::extract::DefaultBodyLimit::disable());
    (serve(app.layer(layer)).await, limiter)
}

/// The same on hyper alone, whose requests and responses have bodies of different types.
async fn hyper_server() -> (SocketAddr, Limiter) {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let layer = layer.request_body::<Incoming>();
    let limiter = layer.limiter().clone();
    let handler = service_fn(async |request: http::Request<Incoming>| {
        let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
        let said = body.unwrap_or_default().to_string();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(said))))
    });
    (serve_each(layer, handler).await, limiter)
}

/// Sends many large uploads to a full server; how many see the refusal.
async fn arrive(address: SocketAddr, version: Version) -> usize {
    let body = Bytes::from(vec![b'x'; UPLOAD]);
    let mut arrived = 0;
    for _ in 0..UPLOADS {
        let mut connection = Connection::open(address, version).await;
        let upload = request(Method::POST, "/").map(|_| Full::new(body.clone()));
        let Ok(answer) = connection.send(upload).await else { continue };
        let refused = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        let whole = answer.into_body().collect().await.is_ok();
        arrived += usize::from(refused && whole);
    }
    arrived
}

#[tokio::test]
async fn hyper_sees_the_refusal_of_large_uploads_over_http_1() {
    for (address, limiter) in [axum_server().await, hyper_server().await] {
        let _full = limiter.try_acquire().expect("room for one");
        let arrived = arrive(address, Version::HTTP_11).await;
        assert!(arrived >= ARRIVE, "{arrived} of {UPLOADS}");
    }
}

#[tokio::test]
async fn hyper_sees_the_refusal_of_large_uploads_over_http_2() {
    for (address, limiter) in [axum_server().await, hyper_server().await] {
        let _full = limiter.try_acquire().expect("room for one");
        let arrived = arrive(address, Version::HTTP_2).await;
        assert!(arrived >= ARRIVE, "{arrived} of {UPLOADS}");
    }
}

#[tokio::test]
async fn reqwest_sees_the_refusal_of_large_uploads() {
    let (address, limiter) = axum_server().await;
    let _full = limiter.try_acquire().expect("room for one");
    let client = reqwest::Client::builder().retry(reqwest::retry::never()).no_proxy();
    let client = client.build().expect("valid options");
    let (url, body) = (format!("http://{address}/"), Bytes::from(vec![b'x'; UPLOAD]));
    let mut arrived = 0;
    for _ in 0..UPLOADS {
        let Ok(answer) = client.post(&url).body(body.clone()).send().await else { continue };
        let refused = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        arrived += usize::from(refused && answer.bytes().await.is_ok());
    }
    assert!(arrived >= ARRIVE, "{arrived} of {UPLOADS}");
}

/// Sends a head, and its body a little later; the answer.
async fn post_in_two_steps(socket: &mut TcpStream) -> String {
    let head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 5\r\n\r\n";
    socket.write_all(head).await.expect("open");
    socket.flush().await.expect("open");
    tokio::time::sleep(Duration::from_millis(1)).await;
    socket.write_all(b"hello").await.expect("open");
    let (head, body) = read_response(socket).await;
    assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok() || body == b"5");
    head
}

#[tokio::test]
async fn a_small_body_that_comes_after_its_head_leaves_the_connection_open() {
    for (address, limiter) in [axum_server().await, hyper_server().await] {
        for _ in 0..60 {
            let full = limiter.try_acquire().expect("room for one");
            let mut socket = TcpStream::connect(address).await.expect("a server listens");
            socket.set_nodelay(true).expect("a connected socket");
            for _ in 0..2 {
                let head = post_in_two_steps(&mut socket).await;
                assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
                assert_eq!(header(&head, "connection"), None, "{head}");
            }
            drop(full);
            let head = post_in_two_steps(&mut socket).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            while limiter.snapshot().in_flight > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_refused_upload_over_http_2_leaves_the_connection_to_others() {
    let (address, limiter) = axum_server().await;
    let full = limiter.try_acquire().expect("room for one");
    let mut connection = Connection::open(address, Version::HTTP_2).await;
    let upload = || request(Method::POST, "/").map(|_| vec![b'x'; UPLOAD].into());
    for _ in 0..3 {
        let refused = connection.send(upload()).await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(text(refused).await.contains("at capacity"));
    }
    drop(full);
    let answer = connection.send(upload()).await.expect("an answer on the same connection");
    assert_eq!(text(answer).await, UPLOAD.to_string());
}

#[tokio::test]
async fn a_bulkhead_on_a_route_reads_what_it_refuses_as_well() {
    let layer = BulkheadLayer::new("payments", 1);
    let limiter = layer.limiter().clone();
    let app = Router::new().route("/", post(async || "paid").layer(layer));
    let address = serve(app).await;
    let _full = limiter.try_acquire().expect("room for one");
    let mut socket = TcpStream::connect(address).await.expect("a server listens");
    for _ in 0..10 {
        let head = post_in_two_steps(&mut socket).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(header(&head, "connection"), None, "{head}");
    }
}

#[tokio::test]
async fn layers_that_stand_directly_on_each_other_read_a_body_that_is_named() {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let layer = layer.request_body::<axum::body::Body>();
    let limiter = layer.limiter().clone();
    let both = tower::ServiceBuilder::new().layer(layer).layer(BulkheadLayer::new("part", 1));
    let app = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
    let address = serve(app.layer(both)).await;
    let _full = limiter.try_acquire().expect("room for one");
    let mut socket = TcpStream::connect(address).await.expect("a server listens");
    for _ in 0..10 {
        let head = post_in_two_steps(&mut socket).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(header(&head, "connection"), None, "{head}");
    }
}
