//! The layer over reqwest and sockets.

use std::time::Duration;

use reqwest::{Body, Client, Method, Request};
use tower::{ServiceBuilder, ServiceExt};
use tower_backpressure::{Attempts, Retry, RetryLayer};

use crate::socket_server::SocketServer;

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
