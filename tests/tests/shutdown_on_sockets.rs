//! A process that ends while uploads are rejected and streams run: each client has a whole response, and it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use backpressure_tests::client::{Connection, text};
use backpressure_tests::raw_http1::header;
use backpressure_tests::server::{listen, wait_for_in_flight};
use http::{Response, Version};
use http_body::Frame;
use http_body_util::channel::Channel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tower_backpressure::{AdmissionLayer, Handle, StreamPolicy};

/// Longer than any bound of the layer, so that a hang fails the test.
const HANG_TIMEOUT: Duration = Duration::from_secs(60);
const UPLOAD_BYTES: usize = 5_000_000;
const UPLOADS: u32 = 12;
const STREAMS: usize = 6;

/// An event at once, and a last one when the layer is drained.
fn events(handle: Handle) -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        let _ = sender.send(Frame::data("data: first\n\n".into())).await;
        handle.stopping().await;
        let _ = sender.send(Frame::data("data: last\n\n".into())).await;
    });
    let response = Response::builder().header("content-type", "text/event-stream");
    response.body(Body::new(body)).expect("a response")
}

/// A server that ends as the documentation of `Handle::drain` says, once this many uploads have been told so.
async fn serve(layer: AdmissionLayer, told: Arc<Semaphore>) -> (SocketAddr, JoinHandle<()>) {
    let (listener, address) = listen().await;
    let handle = layer.handle().clone();
    let events = move || std::future::ready(events(handle.clone()));
    let handle = layer.handle().clone();
    let app = Router::new()
        .route("/", post(async |body: Bytes| body.len().to_string()))
        .route("/events", get(events))
        .layer(DefaultBodyLimit::disable())
        .layer(layer);
    let shutdown = async move {
        handle.stopping().await;
        handle.drained().await;
        drop(told.acquire_many(UPLOADS).await.expect("open"));
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown);
    (address, tokio::spawn(async move { server.await.expect("it serves") }))
}

/// Sends an upload on a connection of its own over HTTP/1; its response. It is still sent when the head has come.
async fn upload(address: SocketAddr, told: Arc<Semaphore>) -> String {
    let socket = TcpStream::connect(address).await.expect("the server listens");
    let (mut reads, mut writes) = socket.into_split();
    let sending = tokio::spawn(async move {
        let head =
            format!("POST / HTTP/1.1\r\nhost: here\r\ncontent-length: {UPLOAD_BYTES}\r\n\r\n");
        let _ = writes.write_all(head.as_bytes()).await;
        for _ in 0..UPLOAD_BYTES / 10_000 {
            if writes.write_all(&[b'x'; 10_000]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        writes
    });
    let (mut response, mut buffer) = (Vec::new(), [0; 4_096]);
    while let Ok(count @ 1..) = reads.read(&mut buffer).await {
        if response.is_empty() {
            told.add_permits(1);
        }
        response.extend_from_slice(&buffer[..count]);
    }
    sending.await.expect("no panic");
    String::from_utf8(response).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_during_rejected_uploads_and_streams_loses_no_response_and_ends() {
    for layer in [AdmissionLayer::fixed("fixed", 64), AdmissionLayer::adaptive("adaptive")] {
        let layer = layer.streams(StreamPolicy::Watch(STREAMS));
        let told = Arc::new(Semaphore::new(0));
        let (address, server) = serve(layer.clone(), Arc::clone(&told)).await;
        let mut streams = JoinSet::new();
        let mut connections = Vec::new();
        for index in 0..STREAMS {
            let version = if index % 2 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
            let mut connection = Connection::open(address, version).await;
            let stream = connection.get("/events").await.expect("a head");
            streams.spawn(text(stream));
            connections.push(connection);
        }
        while layer.handle().streams() < STREAMS {
            tokio::task::yield_now().await;
        }
        wait_for_in_flight(&layer, 0).await;
        layer.handle().drain();
        let mut uploads = JoinSet::new();
        for _ in 0..UPLOADS {
            uploads.spawn(upload(address, Arc::clone(&told)));
        }
        for stream in timeout(HANG_TIMEOUT, streams.join_all()).await.expect("all end") {
            assert_eq!(stream, "data: first\n\ndata: last\n\n");
        }
        drop(connections);
        for response in timeout(HANG_TIMEOUT, uploads.join_all()).await.expect("all end") {
            assert!(response.starts_with("HTTP/1.1 503 ") && response.ends_with('}'), "{response}");
            assert_eq!(header(&response, "connection"), Some("close"), "{response}");
        }
        timeout(HANG_TIMEOUT, server).await.expect("the server ends").expect("no panic");
    }
}
