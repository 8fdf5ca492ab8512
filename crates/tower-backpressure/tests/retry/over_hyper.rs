//! The layer over hyper's client and sockets.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpSocket;
use tower::{Layer, ServiceExt};
use tower_backpressure::{Attempts, Retry, RetryLayer};

use crate::socket_server::{SocketServer, rejecting_in_segments};

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
async fn a_failed_connection_is_an_error_after_all_attempts() {
    // The socket is bound, so that no other process gets the port, and does not listen.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let get = Request::get(url).body(Full::default()).unwrap();
    assert!(client().oneshot(get).await.unwrap_err().is_connect());
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
