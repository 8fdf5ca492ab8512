//! An axum server on a loopback socket.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Rejects the first requests with these, and responds to all others with 200.
#[derive(Clone, Debug, Default)]
pub(crate) struct SocketServer {
    rejections: Arc<[Rejection]>,
    seen: Arc<Mutex<Vec<(Instant, Bytes)>>>,
}

/// Status and header fields.
pub(crate) type Rejection = (u16, &'static [(&'static str, &'static str)]);

impl SocketServer {
    /// Starts a server that runs until the test ends; also returns its URL.
    pub(crate) async fn rejecting(rejections: &[Rejection]) -> (Self, String) {
        let server = Self { rejections: rejections.into(), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        server.clone().serve(listener);
        (server, url)
    }

    /// Starts a server that rejects nothing on this socket.
    pub(crate) fn on(listener: TcpListener) -> Self {
        let server = Self::default();
        server.clone().serve(listener);
        server
    }

    fn serve(self, listener: TcpListener) {
        let app = Router::new().fallback(respond).with_state(self);
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    }

    /// The body of each request.
    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(_, body)| body.clone()).collect()
    }

    /// The time between each request and the next.
    pub(crate) fn gaps(&self) -> Vec<Duration> {
        let seen = self.seen.lock().unwrap();
        seen.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }

    fn record(&self, body: Bytes) -> Option<Rejection> {
        let mut seen = self.seen.lock().unwrap();
        seen.push((Instant::now(), body));
        self.rejections.get(seen.len() - 1).copied()
    }
}

async fn respond(State(server): State<SocketServer>, body: Bytes) -> Response {
    match server.record(body) {
        Some((status, headers)) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, AppendHeaders(headers.iter().copied()), "rejected").into_response()
        }
        None => "served".into_response(),
    }
}

/// Starts a server that rejects requests with bodies that come in two segments, and serves the one after.
/// Returns its URL, and how many connections it took until then.
pub(crate) async fn rejecting_in_segments(rejections: usize) -> (String, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = tokio::spawn(async move {
        let (mut connections, mut responses) = (0, 0);
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections += 1;
            let mut request = [0; 4_096];
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                responses += 1;
                if responses > rejections {
                    let served = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(served).await.unwrap();
                    return connections;
                }
                let head = "HTTP/1.1 503 Busy\r\nretry-after-ms: 60\r\ncontent-length: 20\r\n\r\n";
                stream.write_all(format!("{head}0123456789").as_bytes()).await.unwrap();
                sleep(Duration::from_millis(20)).await;
                let _ = stream.write_all(b"0123456789").await;
            }
        }
    });
    (url, connections)
}
