//! Retries over hyper's client and sockets, behind a balancer that forwards connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt};
use tower_backpressure::client::AttemptTimeoutLayer;
use tower_backpressure::{Attempts, RetryLayer};

/// Serves on an address of its own.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

/// A replica that answers all requests with this status, and how many it has had.
async fn replica(status: StatusCode) -> (SocketAddr, Arc<AtomicUsize>) {
    let hits = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&hits);
    let answer = async move || {
        seen.fetch_add(1, SeqCst);
        (status, "said by a replica").into_response()
    };
    (serve(Router::new().fallback(answer)).await, hits)
}

/// A replica that takes requests and answers none, as one that is suspended.
async fn replica_that_hangs() -> SocketAddr {
    serve(Router::new().fallback(std::future::pending::<StatusCode>)).await
}

/// Forwards each connection to the next of these in turn.
async fn balancer(replicas: [SocketAddr; 2]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for replica in replicas.into_iter().cycle() {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(replica).await.unwrap();
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

/// The status that a caller gets whose first attempt meets a replica that answers with `sick`, the attempts, and how
/// many requests that replica has had.
async fn call(sick: u16, speaks_http2: bool, changes: bool) -> (u16, Attempts, usize) {
    let (sick, hits) = replica(StatusCode::from_u16(sick).unwrap()).await;
    let (healthy, _) = replica(StatusCode::OK).await;
    let url = format!("http://{}/", balancer([sick, healthy]).await);
    let mut hyper = Client::builder(TokioExecutor::new());
    let hyper = hyper.http2_only(speaks_http2).build_http::<Full<Bytes>>();
    let client = RetryLayer::new().change_connection(changes).layer(hyper);
    let get = Request::get(url).body(Full::default()).unwrap();
    let response = client.oneshot(get).await.unwrap();
    (response.status().as_u16(), Attempts::of(response.extensions()), hits.load(SeqCst))
}

#[tokio::test]
async fn a_retry_goes_to_another_replica_behind_a_balancer_of_connections() {
    for speaks_http2 in [false, true] {
        for status in [502, 503, 504, 421] {
            let end = call(status, speaks_http2, true).await;
            assert_eq!(end, (200, Attempts(2), 1), "{status}, HTTP/2: {speaks_http2}");
        }
    }
}

#[tokio::test]
async fn a_retry_after_a_time_out_does_not_wait_for_the_replica_that_hangs() {
    for speaks_http2 in [false, true] {
        let healthy = replica(StatusCode::OK).await.0;
        let url = format!("http://{}/", balancer([replica_that_hangs().await, healthy]).await);
        let mut hyper = Client::builder(TokioExecutor::new());
        let hyper = hyper.http2_only(speaks_http2).build_http::<Full<Bytes>>();
        let retry = RetryLayer::new().change_connection(true);
        let client = retry.layer(AttemptTimeoutLayer::new(Duration::from_secs(1)).layer(hyper));
        let get = Request::get(url).body(Full::default()).unwrap();
        let response = client.oneshot(get).await.unwrap();
        let end = (response.status().as_u16(), Attempts::of(response.extensions()));
        assert_eq!(end, (200, Attempts(2)), "HTTP/2: {speaks_http2}");
    }
}

#[tokio::test]
async fn without_the_option_retries_go_over_the_same_connection() {
    let end = call(502, true, false).await;
    assert_eq!(end, (502, Attempts(3), 3));
}
