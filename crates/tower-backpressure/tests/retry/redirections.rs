//! Redirections that reqwest follows inside the layer: the outcome is that of another request.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use http::StatusCode;
use reqwest::{Client, Method, Request};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::RetryLayer;

use crate::socket_server::SocketServer;

/// Status and a field of the response.
type State = (u16, &'static str);

/// Sends an order, after which the server redirects to its state. Returns how often the order was carried out, and
/// how often its state was asked for.
async fn orders_and_polls(method: Method, (status, field): State) -> (usize, usize) {
    let (orders, polls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&orders);
    let order = move || async move {
        counter.fetch_add(1, SeqCst);
        Redirect::to("/state")
    };
    let counter = Arc::clone(&polls);
    let state = move || async move {
        counter.fetch_add(1, SeqCst);
        (StatusCode::from_u16(status).unwrap(), [(field, "0"), ("retry-after-ms", "1")])
    };
    let app =
        Router::new().route("/order", post(order.clone()).get(order)).route("/state", get(state));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/order", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    let reqwest = Client::builder().retry(reqwest::retry::never()).build().unwrap();
    let request = Request::new(method, url.parse().unwrap());
    let response = RetryLayer::new().layer(reqwest).oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), status);
    (orders.load(SeqCst), polls.load(SeqCst))
}

#[tokio::test]
async fn an_order_is_not_repeated_because_the_request_after_its_redirection_was_not_begun() {
    for state in [(429, "x-unused"), (503, "x-shed-reason"), (421, "x-unused")] {
        assert_eq!(orders_and_polls(Method::POST, state).await, (1, 1), "{state:?}");
    }
}

#[tokio::test]
async fn a_get_is_repeated_from_its_first_url() {
    assert_eq!(orders_and_polls(Method::GET, (429, "x-unused")).await, (3, 3));
}

#[tokio::test]
async fn the_fragment_of_a_url_is_no_redirection() {
    let (server, url) = SocketServer::rejecting(&[(429, &[("retry-after-ms", "1")])]).await;
    let reqwest = Client::builder().retry(reqwest::retry::never()).build().unwrap();
    let request = Request::new(Method::POST, format!("{url}#part").parse().unwrap());
    let response = RetryLayer::new().layer(reqwest).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.bodies().len()), (200, 2));
}

#[tokio::test]
async fn a_response_without_a_url_of_its_own_is_no_redirection() {
    let responses = Arc::new(AtomicUsize::new(0));
    let rejecting = service_fn(|_: Request| {
        responses.fetch_add(1, SeqCst);
        let response = http::Response::builder().status(429).header("retry-after-ms", "1");
        let response = reqwest::Response::from(response.body("").unwrap());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let request = Request::new(Method::POST, "http://here/".parse().unwrap());
    let response = RetryLayer::new().layer(rejecting).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), responses.load(SeqCst)), (429, 3));
}
