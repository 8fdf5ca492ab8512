//! The layer over hyper's client and sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_backpressure::{Attempts, Retry, RetryBudget, RetryLayer};

use crate::socket_server::{SocketServer, rejecting_in_segments};

/// A body that is not `Clone`.
type Boxed = UnsyncBoxBody<Bytes, BoxError>;

fn client() -> Retry<Client<HttpConnector, Full<Bytes>>> {
    RetryLayer::new().layer(Client::builder(TokioExecutor::new()).build_http())
}

#[tokio::test]
async fn a_rejected_get_is_sent_again_no_earlier_than_its_retry_after() {
    let (server, url) = SocketServer::rejecting(&[(503, &[("retry-after", "1")])]).await;
    let get = Request::get(url).body(Full::default()).unwrap();
    let response = client().oneshot(get).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "served");
    assert!(server.gaps()[0] >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_post_that_was_not_begun_is_sent_again_with_its_whole_body() {
    let shed = (503, &[("x-shed-reason", "limit")] as &[_]);
    let (server, url) = SocketServer::rejecting(&[shed, (429, &[])]).await;
    let post = Request::post(url).body(Full::from("an order")).unwrap();
    let response = client().oneshot(post).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(server.bodies(), ["an order"; 3]);
}

#[tokio::test]
async fn a_post_that_may_have_been_begun_is_sent_once_and_its_response_is_returned() {
    let (server, url) = SocketServer::rejecting(&[(503, &[])]).await;
    let post = Request::post(url).body(Full::from("an order")).unwrap();
    let response = client().oneshot(post).await.unwrap();
    assert_eq!(response.status(), 503);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "rejected");
    assert_eq!(server.bodies().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_is_an_error_after_all_attempts_and_costs_the_budget_nothing() {
    // The socket is bound, so that no other process gets the port, and does not listen.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let get = Request::get(url).body(Full::<Bytes>::default()).unwrap();
    let budget = RetryBudget::new(0.0).reserve(2).refill(Duration::ZERO);
    let client = RetryLayer::new().budget(budget.clone());
    let client = client.layer(Client::builder(TokioExecutor::new()).build_http());
    assert!(client.oneshot(get).await.unwrap_err().is_connect());
    assert_eq!(budget.balance(), 2.0);
}

#[tokio::test]
async fn all_requests_that_come_while_a_server_restarts_are_served() {
    const REQUESTS: u32 = 50;
    // The socket is bound, so that no other process gets the port, and does not listen yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let hyper: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let failures = Arc::new(Semaphore::new(0));
    let counter = Arc::clone(&failures);
    let counted = service_fn(move |request: Request<Full<Bytes>>| {
        let (call, counter) = (hyper.request(request), Arc::clone(&counter));
        async move {
            let end = call.await;
            counter.add_permits(usize::from(end.is_err()));
            end
        }
    });
    let client = RetryLayer::new().layer(counted);
    let post = || Request::post(&url).body(Full::from("an order")).unwrap();
    let calls: Vec<_> =
        (0..REQUESTS).map(|_| tokio::spawn(client.clone().oneshot(post()))).collect();
    let _all_are_refused = failures.acquire_many(REQUESTS).await.unwrap();
    let server = SocketServer::on(socket.listen(1_024).unwrap());
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(server.bodies(), vec!["an order"; REQUESTS as usize]);
}

#[tokio::test]
async fn the_connection_of_a_failed_response_is_used_for_the_retry() {
    let (url, connections) = rejecting_in_segments(9).await;
    let get = Request::get(url).body(Full::<Bytes>::default()).unwrap();
    let layer = RetryLayer::new().max_attempts(10);
    let client = layer.layer(Client::builder(TokioExecutor::new()).build_http());
    assert_eq!(client.oneshot(get).await.unwrap().status(), 200);
    assert_eq!(connections.await.unwrap(), 1);
}

/// A server that rejects the first request without reading its body, and returns the length of the others'.
async fn rejecting_unread() -> String {
    let first = Arc::new(AtomicBool::new(true));
    let app = Router::new().fallback(move |request: axum::extract::Request| {
        let is_first = first.swap(false, SeqCst);
        async move {
            if is_first {
                let headers = [("x-shed-reason", "limit"), ("retry-after-ms", "50")];
                return (StatusCode::SERVICE_UNAVAILABLE, headers).into_response();
            }
            let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
            body.map_or(StatusCode::BAD_REQUEST.into_response(), |len| {
                len.to_string().into_response()
            })
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    url
}

#[tokio::test]
async fn an_upload_that_is_rejected_before_it_was_read_is_sent_again_as_a_whole() {
    const PARTS: usize = 20;
    const PART: usize = 10_000;
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    tokio::spawn(async move {
        for _ in 0..PARTS {
            sender.send_data(vec![b'x'; PART].into()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Boxed>();
    let client = RetryLayer::new().buffer_bodies(PARTS * PART, Boxed::new).layer(hyper);
    let post = Request::post(rejecting_unread().await).body(Boxed::new(body)).unwrap();
    let response = client.oneshot(post).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    let length = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(length, (PARTS * PART).to_string());
}
