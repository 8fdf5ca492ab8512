//! Rejections on real sockets: bytes on HTTP/1, streams on HTTP/2.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::post;
use backpressure_tests::client::{Connection, request, text};
use backpressure_tests::raw_http1::{header, read_head, read_response};
use backpressure_tests::server::{serve, wait_until_idle};
use http::{Method, StatusCode, Version};
use http_body::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tower_backpressure::{AdmissionLayer, QueueBounds};

const UPLOAD_BYTES: usize = 10_000_000;

async fn server() -> (SocketAddr, AdmissionLayer) {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    // The handler reads its body. There is no `HandleErrorLayer`.
    let app = Router::new().route("/", post(async |body: String| body.len().to_string()));
    (serve(app.layer(layer.clone())).await, layer)
}

/// Sends a head and chunks until the server stops reading.
async fn upload(mut socket: OwnedWriteHalf, head: String, chunk: Vec<u8>, chunks: usize) {
    let _ = socket.write_all(head.as_bytes()).await;
    for _ in 0..chunks {
        if socket.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

/// Reads until the server closes the connection, cleanly or not.
async fn read_all(mut socket: OwnedReadHalf) -> String {
    let (mut all, mut buffer) = (Vec::new(), [0; 4_096]);
    while let Ok(count @ 1..) = socket.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(all).expect("text")
}

/// All bytes that the server sends in response to a rejected upload.
async fn response_to_rejected_upload(head: &str, chunk: Vec<u8>, chunks: usize) -> String {
    let (address, layer) = server().await;
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let socket = TcpStream::connect(address).await.expect("the server listens");
    let (reads, writes) = socket.into_split();
    let uploading = tokio::spawn(upload(writes, head.to_owned(), chunk, chunks));
    let response = read_all(reads).await;
    uploading.await.expect("no panic");
    response
}

fn assert_rejected_and_closed(response: &str) {
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert_eq!(header(response, "connection"), Some("close"), "{response}");
    assert!(header(response, "retry-after").is_some(), "{response}");
    let body = response.split_once("\r\n\r\n").expect("a head").1;
    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{response}");
}

#[tokio::test]
async fn a_client_receives_the_rejection_of_its_upload_and_the_connection_closes() {
    let head = format!("POST / HTTP/1.1\r\nhost: here\r\ncontent-length: {UPLOAD_BYTES}\r\n\r\n");
    assert_rejected_and_closed(
        &response_to_rejected_upload(&head, vec![b'x'; 10_000], UPLOAD_BYTES / 10_000).await,
    );
}

#[tokio::test]
async fn the_rejection_of_a_chunked_upload_is_received_as_well() {
    let head = "POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut chunk = b"2710\r\n".to_vec();
    chunk.resize(chunk.len() + 10_000, b'x');
    chunk.extend_from_slice(b"\r\n");
    assert_rejected_and_closed(
        &response_to_rejected_upload(head, chunk, UPLOAD_BYTES / 10_000).await,
    );
}

#[tokio::test]
async fn a_rejected_request_with_a_small_body_leaves_the_connection_open() {
    let (address, layer) = server().await;
    let permit = layer.limiter().try_acquire().expect("a free permit");
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    let post = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 5\r\n\r\nhello";
    for _ in 0..3 {
        socket.write_all(post).await.expect("an open connection");
        let (head, body) = read_response(&mut socket).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(header(&head, "connection"), None, "{head}");
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }
    drop(permit);
    socket.write_all(post).await.expect("an open connection");
    let (head, body) = read_response(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, b"5");
    wait_until_idle(&layer).await;
}

#[tokio::test]
async fn a_request_that_expects_100_continue_is_rejected_before_its_body() {
    let (address, layer) = server().await;
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: {UPLOAD_BYTES}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("an open connection");
    // RFC 9110, section 10.1.1: a final status instead of 100 tells the client not to send the body.
    let head = read_head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(header(&head, "connection"), Some("close"), "{head}");
}

#[tokio::test]
async fn a_rejection_over_http_2_leaves_the_connection_open() {
    let (address, layer) = server().await;
    let permit = layer.limiter().try_acquire().expect("a free permit");
    let mut connection = Connection::open(address, Version::HTTP_2).await;
    let upload = || request(Method::POST, "/").map(|_| vec![b'x'; UPLOAD_BYTES / 10].into());
    let rejected = connection.send(upload()).await.expect("a response");
    assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!rejected.headers().contains_key("connection"));
    assert!(text(rejected).await.contains("at capacity"));
    drop(permit);
    let response = connection.send(upload()).await.expect("a response on the same connection");
    assert_eq!(text(response).await, (UPLOAD_BYTES / 10).to_string());
}

#[tokio::test]
async fn a_grpc_rejection_consists_of_its_head() {
    let (address, layer) = server().await;
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let mut connection = Connection::open(address, Version::HTTP_2).await;
    let mut call = request(Method::POST, "/");
    let kind = http::HeaderValue::from_static("application/grpc");
    call.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    let rejected = connection.send(call).await.expect("a response");
    assert_eq!(rejected.status(), StatusCode::OK);
    assert_eq!(rejected.headers()["content-type"], "application/grpc");
    assert_eq!(rejected.headers()["grpc-status"], "14");
    let pushback = rejected.headers()["grpc-retry-pushback-ms"].to_str().expect("text");
    assert!(pushback.parse::<i32>().is_ok_and(|millis| millis >= 1), "{pushback}");
    // A trailers-only response: the head ends the stream.
    assert!(rejected.body().is_end_stream());
}

#[tokio::test]
async fn a_rejection_can_have_status_429_and_a_hidden_reason() {
    let layer = AdmissionLayer::fixed("api", 1)
        .queue(QueueBounds::NONE)
        .status(StatusCode::TOO_MANY_REQUESTS)
        .reveal_reason(false);
    let app = Router::new().route("/", post(async || "never"));
    let address = serve(app.layer(layer.clone())).await;
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let mut connection = Connection::open(address, Version::HTTP_11).await;
    let rejected = connection.send(request(Method::POST, "/")).await.expect("a response");
    assert_eq!(rejected.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(rejected.headers()["x-shed-reason"], "refused");
    assert!(rejected.headers().contains_key("retry-after"));
    let problem: serde_json::Value =
        serde_json::from_str(&text(rejected).await).expect("valid JSON");
    assert_eq!(problem["status"], 429);
    assert!(problem.get("reason").is_none());
}
