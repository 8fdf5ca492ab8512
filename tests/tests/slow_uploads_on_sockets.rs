//! Slow uploads hold connections and memory but cause no rejection of other requests.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use backpressure_tests::client::{Connection, text};
use backpressure_tests::server::{serve, wait_for_in_flight};
use http::{StatusCode, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_backpressure::AdmissionLayer;

/// More than an adaptive limit admits at first.
const UPLOADS: usize = 60;
/// Each upload sends this piece every [`PAUSE`]: 1 kB a second.
const PIECE: &[u8] = &[b'x'; 100];
const PAUSE: Duration = Duration::from_millis(100);
const PROBES: usize = 20;

#[tokio::test]
async fn slow_uploads_cause_no_rejection_of_a_probe() {
    let layer = AdmissionLayer::adaptive("api");
    let app = Router::new()
        .route("/upload", post(async |body: String| body.len().to_string()))
        .route("/probe", get(async || "alive"));
    let address = serve(app.layer(layer.clone())).await;
    let mut uploads = JoinSet::new();
    for _ in 0..UPLOADS {
        let mut socket = TcpStream::connect(address).await.expect("the server listens");
        let head = "POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n";
        socket.write_all(head.as_bytes()).await.expect("the server reads the head");
        uploads.spawn(async move {
            while socket.write_all(PIECE).await.is_ok() {
                sleep(PAUSE).await;
            }
        });
    }
    wait_for_in_flight(&layer, UPLOADS).await;
    let mut connection = Connection::open(address, Version::HTTP_11).await;
    for probe in 0..PROBES {
        connection.is_ready().await;
        let response = connection.get("/probe").await.expect("a response");
        assert_eq!(response.status(), StatusCode::OK, "probe {probe}");
        assert_eq!(text(response).await, "alive");
        sleep(PAUSE).await;
    }
    assert_eq!(layer.snapshot().in_flight, UPLOADS, "all uploads are admitted and still running");
}
