//! Servers that hang up, stall, reset or talk nonsense: a call ends at its deadline, and a `POST` that was read is
//! sent once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower::{Layer, ServiceExt};
use tower_backpressure::RetryLayer;

/// What a server does with a request that it has read.
#[derive(Clone, Copy, Debug)]
enum Does {
    HangUp,
    Reset,
    Send(&'static str),
    SendAndHangUp(&'static str),
}

const DEADLINE: Duration = Duration::from_millis(1_500);

const BEHAVIOURS: &[Does] = &[
    Does::HangUp,
    Does::Reset,
    Does::Send(""),
    Does::Send("HTTP/1.1 503 Ser"),
    Does::Send("220 smtp.example ESMTP\r\n"),
    Does::Send("HTTP/1.1 100 Continue\r\n\r\n"),
    Does::SendAndHangUp("HTTP/1.1 503 Busy\r\nretry-after-ms: 10\r\ncontent-length: 100\r\n\r\n"),
    Does::Send("HTTP/1.1 503 Busy\r\nretry-after-ms: 10\r\ncontent-length: 100\r\n\r\n"),
    Does::Send(
        "HTTP/1.1 503 Busy\r\nretry-after-ms: 10\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ),
    Does::Send(
        "HTTP/1.1 503 Busy\r\nretry-after: 99999999999999999999\r\ncontent-length: 0\r\n\r\n",
    ),
    Does::Send("HTTP/1.1 503 Busy\r\nretry-after: \u{fffd}\r\ncontent-length: 0\r\n\r\n"),
    Does::SendAndHangUp("HTTP/1.1 502 Bad\r\n\r\n"),
];

/// Starts a server, and counts the requests that it has read.
async fn server(does: Does) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    counter.fetch_add(1, SeqCst);
                    match does {
                        Does::HangUp => return,
                        Does::Reset => return stream.set_zero_linger().unwrap(),
                        Does::Send(text) => drop(stream.write_all(text.as_bytes()).await),
                        Does::SendAndHangUp(text) => {
                            return drop(stream.write_all(text.as_bytes()).await);
                        }
                    }
                }
            });
        }
    });
    (url, requests)
}

/// Sends a request, and returns how often the server has read it.
async fn requests(does: Does, method: Method) -> usize {
    let (url, requests) = server(does).await;
    let body = if method == Method::POST { "an order" } else { "" };
    let request = Request::builder().method(method).uri(url).body(Full::<Bytes>::from(body));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let call = RetryLayer::new().deadline(DEADLINE).layer(client).oneshot(request.unwrap());
    let outcome = timeout(10 * DEADLINE, call).await.expect("the deadline ends the call");
    if let Ok(response) = outcome {
        let _ = timeout(DEADLINE, response.into_body().collect()).await;
    }
    requests.load(SeqCst)
}

#[tokio::test]
async fn no_behaviour_of_a_server_outlasts_the_deadline_or_sends_a_post_twice() {
    let calls = BEHAVIOURS.iter().flat_map(|&does| {
        [Method::GET, Method::POST].map(|method| {
            let call = tokio::spawn(requests(does, method.clone()));
            (does, method, call)
        })
    });
    for (does, method, call) in calls.collect::<Vec<_>>() {
        let requests = call.await.unwrap();
        match method {
            Method::POST => assert_eq!(requests, 1, "{does:?}"),
            _ => assert!((1..=3).contains(&requests), "{does:?}: {requests}"),
        }
    }
}
