//! Uploads that trickle in hold connections and memory, and keep no other request out.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use backpressure_tests::client::{Connection, text};
use backpressure_tests::server::{in_flight, serve};
use http::{StatusCode, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_backpressure::AdmissionLayer;

/// More than an adaptive limit lets in before it knows anything.
const UPLOADS: usize = 60;
/// A hundred bytes every tenth of a second each: 1 kB a second.
const PIECE: &[u8] = &[b'x'; 100];
const PAUSE: Duration = Duration::from_millis(100);
const PROBES: usize = 20;

#[tokio::test]
async fn uploads_that_trickle_in_do_not_shut_out_a_probe() {
    let layer = AdmissionLayer::adaptive("api");
    let app = Router::new()
        .route("/upload", post(async |body: String| body.len().to_string()))
        .route("/probe", get(async || "here"));
    let address = serve(app.layer(layer.clone())).await;
    let mut uploads = JoinSet::new();
    for _ in 0..UPLOADS {
        let mut socket = TcpStream::connect(address).await.expect("the server listens");
        let head = "POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n";
        socket.write_all(head.as_bytes()).await.expect("the head is taken");
        uploads.spawn(async move {
            while socket.write_all(PIECE).await.is_ok() {
                sleep(PAUSE).await;
            }
        });
    }
    in_flight(&layer, UPLOADS).await;
    let mut connection = Connection::open(address, Version::HTTP_11).await;
    for probe in 0..PROBES {
        connection.is_ready().await;
        let answer = connection.get("/probe").await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "probe {probe}");
        assert_eq!(text(answer).await, "here");
        sleep(PAUSE).await;
    }
    assert_eq!(layer.snapshot().in_flight, UPLOADS, "the uploads were let in and are still there");
}
