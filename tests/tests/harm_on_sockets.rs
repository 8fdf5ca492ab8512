//! Rejections of unusual requests on sockets: the connection is kept, or is announced to close.

use std::time::Duration;

use axum::Router;
use axum::routing::any;
use backpressure_tests::client::{Connection, request, text};
use backpressure_tests::raw_http1::{header, read_head, read_response};
use backpressure_tests::server::serve;
use http::{Method, StatusCode, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tower_backpressure::{AdmissionLayer, Permit, QueueBounds};

/// A connection to a server whose only permit is taken.
async fn saturated() -> (TcpStream, Permit, AdmissionLayer) {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let app = Router::new().route("/", any(async |body: String| body)).layer(layer.clone());
    let socket = TcpStream::connect(serve(app).await).await.expect("the server listens");
    let permit = layer.limiter().try_acquire().expect("a free permit");
    (socket, permit, layer)
}

async fn send(socket: &mut TcpStream, bytes: &str) {
    socket.write_all(bytes.as_bytes()).await.expect("an open connection");
}

/// Checks that the next request on the connection is served.
async fn assert_next_is_served(socket: &mut TcpStream, permit: Permit) {
    drop(permit);
    send(socket, "POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 4\r\n\r\nnext").await;
    let (head, body) = read_response(socket).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == b"next", "{head}");
}

#[tokio::test]
async fn a_rejected_head_request_has_no_body_and_keeps_the_connection() {
    let (mut socket, permit, _) = saturated().await;
    send(&mut socket, "HEAD / HTTP/1.1\r\nhost: here\r\n\r\n").await;
    let head = read_head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 503 ") && header(&head, "retry-after").is_some(), "{head}");
    assert_next_is_served(&mut socket, permit).await;
}

#[tokio::test]
async fn rejected_options_range_and_upgrade_requests_keep_the_connection() {
    for request in [
        "OPTIONS / HTTP/1.1\r\nhost: here\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: here\r\nrange: bytes=100-200\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "PROPFIND / HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (mut socket, permit, _) = saturated().await;
        send(&mut socket, request).await;
        let (head, _) = read_response(&mut socket).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_next_is_served(&mut socket, permit).await;
    }
}

#[tokio::test]
async fn a_rejected_chunked_upload_that_pauses_is_answered_and_announces_whether_it_closes() {
    let (mut socket, permit, _) = saturated().await;
    send(&mut socket, "POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..3 {
        send(&mut socket, "5\r\nhello\r\n").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    send(&mut socket, "0\r\n\r\n").await;
    let (head, _) = read_response(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    if header(&head, "connection") != Some("close") {
        assert_next_is_served(&mut socket, permit).await;
    }
}

#[tokio::test]
async fn requests_that_are_pipelined_behind_a_rejected_one_are_answered_in_order() {
    let (mut socket, permit, _) = saturated().await;
    let request = "POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\nhi";
    send(&mut socket, &request.repeat(5)).await;
    for _ in 0..5 {
        let (head, _) = read_response(&mut socket).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    }
    assert_next_is_served(&mut socket, permit).await;
}

#[tokio::test]
async fn rejections_of_any_method_over_http_2_leave_the_connection_to_others() {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let app = Router::new().route("/", any(async || "served")).layer(layer.clone());
    let mut connection = Connection::open(serve(app).await, Version::HTTP_2).await;
    let permit = layer.limiter().try_acquire().expect("a free permit");
    for method in [Method::HEAD, Method::OPTIONS, Method::GET, Method::DELETE, Method::POST] {
        for _ in 0..40 {
            let rejected = connection.send(request(method.clone(), "/")).await;
            let rejected = rejected.expect("a response");
            assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(rejected.headers().contains_key("retry-after"));
            assert_eq!(text(rejected).await.is_empty(), method == Method::HEAD, "{method}");
        }
    }
    drop(permit);
    let served = connection.get("/").await.expect("a response on the same connection");
    assert_eq!(text(served).await, "served");
}
