//! The layer over reqwest and sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use reqwest::{Body, Client, Method, Request};
use tokio::net::{TcpListener, TcpSocket};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_backpressure::{Attempts, Retry, RetryLayer};

use crate::socket_server::{SocketServer, rejecting_in_segments};

fn client() -> Retry<Client> {
    let reqwest = Client::builder().retry(reqwest::retry::never()).build();
    ServiceBuilder::new().layer(RetryLayer::new()).service(reqwest.unwrap())
}

fn request(method: Method, url: &str, body: impl Into<Body>) -> Request {
    let mut request = Request::new(method, url.parse().unwrap());
    *request.body_mut() = Some(body.into());
    request
}

#[tokio::test]
async fn a_rejected_get_is_sent_again_no_earlier_than_its_retry_after() {
    let (server, url) = SocketServer::rejecting(&[(429, &[("retry-after", "1")])]).await;
    let get = request(Method::GET, &url, "");
    let response = client().oneshot(get).await.unwrap();
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    assert_eq!(response.text().await.unwrap(), "served");
    assert!(server.gaps()[0] >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_post_that_was_not_begun_is_sent_again_with_its_whole_body() {
    let shed = (503, &[("x-shed-reason", "limit")] as &[_]);
    let (server, url) = SocketServer::rejecting(&[shed]).await;
    let post = request(Method::POST, &url, "an order");
    let response = client().oneshot(post).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(server.bodies(), ["an order"; 2]);
}

#[tokio::test]
async fn a_body_that_cannot_be_copied_is_sent_once() {
    let (server, url) = SocketServer::rejecting(&[(503, &[])]).await;
    let stream = Body::wrap(http_body_util::Full::<bytes::Bytes>::from("a stream"));
    let put = request(Method::PUT, &url, stream);
    assert!(put.try_clone().is_none(), "the test needs a body without a copy");
    let response = client().oneshot(put).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.text().await.unwrap(), "rejected");
    assert_eq!(server.bodies(), ["a stream"]);
}

#[tokio::test]
async fn the_connection_of_a_failed_response_is_used_for_the_retry() {
    let (url, connections) = rejecting_in_segments(9).await;
    let reqwest = Client::builder().retry(reqwest::retry::never()).build().unwrap();
    let client = RetryLayer::new().max_attempts(10).layer(reqwest);
    let response = client.oneshot(request(Method::GET, &url, "")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(connections.await.unwrap(), 1);
}

/// A server that accepts connections and never responds: its URL, and the number of connections.
async fn silent_server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok(connection) = listener.accept().await {
            counter.fetch_add(1, SeqCst);
            open.push(connection);
        }
    });
    (url, connections)
}

#[tokio::test]
async fn the_timeout_of_a_request_is_the_deadline_of_the_whole_call() {
    let (url, connections) = silent_server().await;
    let mut get = request(Method::GET, &url, "");
    *get.timeout_mut() = Some(Duration::from_millis(500));
    let error = client().oneshot(get).await.unwrap_err();
    assert!(error.is_timeout());
    assert!(connections.load(SeqCst) <= 1, "there is no time for a second attempt");
}

#[tokio::test]
async fn a_retry_gets_what_is_left_of_the_timeout() {
    let (server, url) = SocketServer::rejecting(&[
        (429, &[("retry-after-ms", "300")]),
        (429, &[("retry-after", "30")]),
    ])
    .await;
    let mut get = request(Method::GET, &url, "");
    *get.timeout_mut() = Some(Duration::from_secs(30));
    let response = client().oneshot(get).await.unwrap();
    assert_eq!(response.status(), 429, "a third attempt would be too late");
    assert_eq!(server.bodies().len(), 2);
}

#[tokio::test]
async fn a_deadline_of_the_layer_ends_an_attempt() {
    let (url, _connections) = silent_server().await;
    let reqwest = Client::builder().retry(reqwest::retry::never()).build().unwrap();
    let client = RetryLayer::new().deadline(Duration::from_millis(300)).layer(reqwest);
    let error = client.oneshot(request(Method::GET, &url, "")).await.unwrap_err();
    assert!(error.is_timeout());
}

#[tokio::test]
async fn a_post_to_a_closed_port_is_tried_again() {
    // The socket is bound, so that no other process gets the port, and does not listen yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let call = tokio::spawn(client().oneshot(request(Method::POST, &url, "an order")));
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let server = SocketServer::on(socket.listen(16).unwrap());
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    assert_eq!(server.bodies(), ["an order"]);
}

#[tokio::test]
async fn a_url_that_cannot_be_sent_to_is_not_tried_again() {
    let mut service = client();
    let call = tower::Service::call(&mut service, request(Method::GET, "ftp://a.example/", ""));
    let mut call = std::pin::pin!(call);
    assert!(call.as_mut().await.unwrap_err().is_builder());
    assert_eq!(call.gave_up(), None);
}

/// A retry whose wait has ended after the deadline, as in a process that was suspended, has no time left: reqwest
/// ends it before it is sent.
#[tokio::test(start_paused = true)]
async fn retries_after_a_suspension_are_not_sent_as_a_crowd() {
    let timeouts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&timeouts);
    let rejecting = tower::service_fn(move |request: Request| {
        seen.lock().unwrap().push(request.timeout().copied());
        let response = http::Response::builder().status(429).header("retry-after", "2");
        let response = reqwest::Response::from(response.body("").unwrap());
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let client = RetryLayer::new().layer(rejecting);
    let url: reqwest::Url = "http://here/".parse().unwrap();
    let calls: Vec<_> = (0..10)
        .map(|_| tokio::spawn(client.clone().oneshot(Request::new(Method::GET, url.clone()))))
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 429);
    }
    let timeouts = timeouts.lock().unwrap();
    assert_eq!(timeouts.len(), 20);
    assert!(timeouts[..10].iter().all(Option::is_none));
    assert!(timeouts[10..].iter().all(|timeout| *timeout == Some(Duration::ZERO)), "{timeouts:?}");
}
