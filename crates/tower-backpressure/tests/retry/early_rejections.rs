//! A server that rejects an upload before it has read it: the rejection is seen, and what it says is obeyed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tower::{Layer, ServiceExt};
use tower_backpressure::RetryLayer;

/// What a server does with the upload after its rejection.
#[derive(Clone, Copy, Debug)]
enum Then {
    ReadsOn,
    StopsReading,
}

const REJECTION: &[u8] =
    b"HTTP/1.1 429 Slow\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const UPLOAD: usize = 16 << 20;
/// Longer than a client needs to see a response that is there.
const LINGER: Duration = Duration::from_secs(20);

/// Rejects the first request, accepts the second, and returns when each came.
async fn server(then: Then) -> (String, Arc<Mutex<Vec<Instant>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = {
                let mut seen = recorder.lock().unwrap();
                seen.push(Instant::now());
                seen.len()
            };
            tokio::spawn(respond(stream, count == 1, then));
        }
    });
    (url, seen)
}

async fn respond(mut stream: TcpStream, rejects: bool, then: Then) {
    let mut head = [0; 1_024];
    let _ = stream.read(&mut head).await;
    if !rejects {
        let mut upload = stream.split().0.take(UPLOAD as u64 - 1_024);
        let _ = copy(&mut upload, &mut sink()).await;
        let _ = stream.write_all(ACCEPTED).await;
        return;
    }
    let _ = stream.write_all(REJECTION).await;
    let _ = match then {
        Then::ReadsOn => timeout(LINGER, copy(&mut stream, &mut sink())).await.is_ok(),
        Then::StopsReading => timeout(LINGER, std::future::pending::<()>()).await.is_ok(),
    };
}

#[tokio::test]
async fn an_upload_that_is_rejected_early_is_sent_again_when_the_server_said() {
    for then in [Then::ReadsOn, Then::StopsReading] {
        let (url, seen) = server(then).await;
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let upload = Request::post(url).body(Full::from(Bytes::from(vec![0; UPLOAD]))).unwrap();
        let response = RetryLayer::new().layer(client).oneshot(upload).await;
        let response = response.unwrap_or_else(|error| panic!("{then:?}: {error:?}"));
        assert_eq!(response.status(), StatusCode::OK, "{then:?}");
        let seen = seen.lock().unwrap();
        assert!(seen[1] - seen[0] >= Duration::from_secs(1), "{then:?}");
    }
}
