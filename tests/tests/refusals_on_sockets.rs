//! Refusals as they arrive, byte for byte where it matters.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::post;
use backpressure_tests::client::{Connection, request, text};
use backpressure_tests::raw::{header, read_head, read_response};
use backpressure_tests::server::{all_gone, serve};
use http::{Method, StatusCode, Version};
use http_body::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tower_backpressure::{AdmissionLayer, QueueBounds};

const UPLOAD: usize = 10_000_000;

async fn server() -> (SocketAddr, AdmissionLayer) {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    // A handler that reads what it gets; there is no HandleErrorLayer anywhere.
    let app = Router::new().route("/", post(async |body: String| body.len().to_string()));
    (serve(app.layer(layer.clone())).await, layer)
}

/// Sends as much as the server takes.
async fn pour(mut socket: OwnedWriteHalf, head: String, chunk: Vec<u8>, chunks: usize) {
    let _ = socket.write_all(head.as_bytes()).await;
    for _ in 0..chunks {
        if socket.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

/// Reads until the server closes, cleanly or not.
async fn drink(mut socket: OwnedReadHalf) -> String {
    let (mut all, mut some) = (Vec::new(), [0; 4_096]);
    while let Ok(count @ 1..) = socket.read(&mut some).await {
        all.extend_from_slice(&some[..count]);
    }
    String::from_utf8(all).expect("text")
}

/// What comes back for an upload that nobody reads, until the server hangs up.
async fn refused_upload(head: &str, chunk: Vec<u8>, chunks: usize) -> String {
    let (address, layer) = server().await;
    let _full = layer.limiter().try_acquire().expect("room for one");
    let socket = TcpStream::connect(address).await.expect("somebody listens");
    let (reads, writes) = socket.into_split();
    let pouring = tokio::spawn(pour(writes, head.to_owned(), chunk, chunks));
    let answer = drink(reads).await;
    pouring.await.expect("no panic");
    answer
}

fn check_hang_up(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(header(answer, "connection"), Some("close"), "{answer}");
    assert!(header(answer, "retry-after").is_some(), "{answer}");
    let body = answer.split_once("\r\n\r\n").expect("a head").1;
    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{answer}");
}

#[tokio::test]
async fn a_refused_upload_can_read_its_refusal_and_the_connection_closes() {
    let head = format!("POST / HTTP/1.1\r\nhost: here\r\ncontent-length: {UPLOAD}\r\n\r\n");
    check_hang_up(&refused_upload(&head, vec![b'x'; 10_000], UPLOAD / 10_000).await);
}

#[tokio::test]
async fn a_refused_upload_of_unknown_length_ends_the_same_way() {
    let head = "POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut chunk = b"2710\r\n".to_vec();
    chunk.resize(chunk.len() + 10_000, b'x');
    chunk.extend_from_slice(b"\r\n");
    check_hang_up(&refused_upload(head, chunk, UPLOAD / 10_000).await);
}

#[tokio::test]
async fn a_small_body_leaves_the_connection_to_the_next_request() {
    let (address, layer) = server().await;
    let full = layer.limiter().try_acquire().expect("room for one");
    let mut socket = TcpStream::connect(address).await.expect("somebody listens");
    let post = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 5\r\n\r\nhello";
    for _ in 0..3 {
        socket.write_all(post).await.expect("open");
        let (head, body) = read_response(&mut socket).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(header(&head, "connection"), None, "{head}");
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }
    drop(full);
    socket.write_all(post).await.expect("still open");
    let (head, body) = read_response(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, b"5");
    all_gone(&layer).await;
}

#[tokio::test]
async fn who_asks_before_an_upload_is_refused_without_one() {
    let (address, layer) = server().await;
    let _full = layer.limiter().try_acquire().expect("room for one");
    let mut socket = TcpStream::connect(address).await.expect("somebody listens");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: {UPLOAD}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("open");
    // RFC 9110, section 10.1.1: a final status instead of 100 says not to send the body.
    let head = read_head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(header(&head, "connection"), Some("close"), "{head}");
}

#[tokio::test]
async fn over_http_2_a_refusal_leaves_the_connection_alone() {
    let (address, layer) = server().await;
    let full = layer.limiter().try_acquire().expect("room for one");
    let mut connection = Connection::open(address, Version::HTTP_2).await;
    let upload = || request(Method::POST, "/").map(|_| vec![b'x'; UPLOAD / 10].into());
    let refused = connection.send(upload()).await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!refused.headers().contains_key("connection"));
    assert!(text(refused).await.contains("at capacity"));
    drop(full);
    let answer = connection.send(upload()).await.expect("an answer on the same connection");
    assert_eq!(text(answer).await, (UPLOAD / 10).to_string());
}

#[tokio::test]
async fn grpc_is_refused_by_its_head_alone() {
    let (address, layer) = server().await;
    let _full = layer.limiter().try_acquire().expect("room for one");
    let mut connection = Connection::open(address, Version::HTTP_2).await;
    let mut call = request(Method::POST, "/");
    let kind = http::HeaderValue::from_static("application/grpc");
    call.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    let refused = connection.send(call).await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::OK);
    assert_eq!(refused.headers()["content-type"], "application/grpc");
    assert_eq!(refused.headers()["grpc-status"], "14");
    let pushback = refused.headers()["grpc-retry-pushback-ms"].to_str().expect("text");
    assert!(pushback.parse::<i32>().is_ok_and(|millis| millis >= 1), "{pushback}");
    // Trailers only: the head ends the stream.
    assert!(refused.body().is_end_stream());
}

#[tokio::test]
async fn a_refusal_can_be_a_429_that_keeps_its_reason_to_itself() {
    let layer = AdmissionLayer::fixed("api", 1)
        .queue(QueueBounds::NONE)
        .status(StatusCode::TOO_MANY_REQUESTS)
        .reveal_reason(false);
    let app = Router::new().route("/", post(async || "never"));
    let address = serve(app.layer(layer.clone())).await;
    let _full = layer.limiter().try_acquire().expect("room for one");
    let mut connection = Connection::open(address, Version::HTTP_11).await;
    let refused = connection.send(request(Method::POST, "/")).await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["x-shed-reason"], "refused");
    assert!(refused.headers().contains_key("retry-after"));
    let problem: serde_json::Value =
        serde_json::from_str(&text(refused).await).expect("valid JSON");
    assert_eq!(problem["status"], 429);
    assert!(problem.get("reason").is_none());
}
