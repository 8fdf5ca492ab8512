//! Over hyper's client and real connections.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpSocket;
use tower::{Layer, ServiceExt};
use tower_backpressure::{Attempts, Retry, RetryLayer};

use crate::far_end::FarEnd;

fn client() -> Retry<Client<HttpConnector, Full<Bytes>>> {
    RetryLayer::new().layer(Client::builder(TokioExecutor::new()).build_http())
}

#[tokio::test]
async fn a_refused_get_is_served_no_earlier_than_told() {
    let (far_end, url) = FarEnd::refusing(&[(503, &[("retry-after", "1")])]).await;
    let get = Request::get(url).body(Full::default()).unwrap();
    let response = client().oneshot(get).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "served");
    assert!(far_end.gaps()[0] >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_post_is_sent_again_whole_if_it_was_not_begun() {
    let shed = (503, &[("x-shed-reason", "limit")] as &[_]);
    let (far_end, url) = FarEnd::refusing(&[shed, (429, &[])]).await;
    let post = Request::post(url).body(Full::from("an order")).unwrap();
    let response = client().oneshot(post).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(far_end.bodies(), ["an order"; 3]);
}

#[tokio::test]
async fn a_post_that_may_have_been_begun_is_sent_once_and_its_answer_kept() {
    let (far_end, url) = FarEnd::refusing(&[(503, &[])]).await;
    let post = Request::post(url).body(Full::from("an order")).unwrap();
    let response = client().oneshot(post).await.unwrap();
    assert_eq!(response.status(), 503);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "refused");
    assert_eq!(far_end.bodies().len(), 1);
}

#[tokio::test]
async fn nobody_at_the_other_end_is_an_error_after_all_attempts() {
    // Bound, so that nobody else is given the port, but never listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let get = Request::get(url).body(Full::default()).unwrap();
    assert!(client().oneshot(get).await.unwrap_err().is_connect());
}
