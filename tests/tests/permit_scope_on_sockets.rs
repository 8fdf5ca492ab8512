//! A permit is held until the end of the response body, or with `PermitScope::Head` until the head.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use backpressure_tests::client::{Connection, IncomingResponse, text};
use backpressure_tests::server::{serve, wait_for_in_flight, wait_until_idle};
use bytes::Bytes;
use http::{Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use tower_backpressure::{AdmissionLayer, PermitScope, QueueBounds};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// Senders of the bodies that are still open.
type Streams = Arc<Mutex<Vec<Sender<Bytes>>>>;

/// Responds at once with a body that ends when its sender is dropped.
fn stream(streams: &Streams, kind: &'static str) -> Response<Body> {
    let (mut sender, body) = Channel::new(8);
    sender.try_send(http_body::Frame::data(Bytes::from_static(b"first"))).expect("a free permit");
    streams.lock().expect("no panic").push(sender);
    Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .body(Body::new(body))
        .expect("a response")
}

async fn server(layer: &AdmissionLayer) -> (std::net::SocketAddr, Streams) {
    let streams = Streams::default();
    let handler = |kind| {
        let streams = Arc::clone(&streams);
        get(move || async move { stream(&streams, kind) })
    };
    let router = Router::new()
        .route("/", handler("text/plain"))
        .route("/events", handler("text/event-stream"))
        .layer(layer.clone());
    (serve(router).await, streams)
}

async fn get_on_new(
    address: std::net::SocketAddr,
    version: Version,
    path: &str,
) -> (Connection, IncomingResponse) {
    let mut connection = Connection::open(address, version).await;
    let response = connection.get(path).await.expect("a response");
    (connection, response)
}

/// Reads the first frame.
async fn read_first_frame(response: &mut IncomingResponse) {
    let frame =
        response.body_mut().frame().await.expect("a frame").expect("the body does not fail");
    assert_eq!(frame.data_ref().map(Bytes::as_ref), Some(&b"first"[..]));
}

fn limit_of_two() -> AdmissionLayer {
    AdmissionLayer::fixed("two", 2).queue(QueueBounds::NONE)
}

#[tokio::test]
async fn a_limit_of_two_admits_two_open_bodies() {
    for version in VERSIONS {
        let layer = limit_of_two();
        let (address, streams) = server(&layer).await;
        let (_one, mut first_body) = get_on_new(address, version, "/").await;
        let (_two, mut second_body) = get_on_new(address, version, "/").await;
        read_first_frame(&mut first_body).await;
        read_first_frame(&mut second_body).await;
        for _ in 0..10 {
            let (_connection, third) = get_on_new(address, version, "/").await;
            assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(layer.snapshot().in_flight, 2);

        // One stream ends and is read to its end: one more request is admitted.
        drop(streams.lock().expect("no panic").remove(0));
        assert_eq!(text(first_body).await, "");
        wait_for_in_flight(&layer, 1).await;
        let (_connection, mut next) = get_on_new(address, version, "/").await;
        assert_eq!(next.status(), StatusCode::OK);
        read_first_frame(&mut next).await;
        let (_connection, rejected) = get_on_new(address, version, "/").await;
        assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn a_dropped_connection_releases_its_permit() {
    for version in VERSIONS {
        let layer = limit_of_two();
        let (address, _streams) = server(&layer).await;
        let one = get_on_new(address, version, "/").await;
        let two = get_on_new(address, version, "/").await;
        assert_eq!(layer.snapshot().in_flight, 2);
        drop(one);
        wait_for_in_flight(&layer, 1).await;
        drop(two);
        wait_until_idle(&layer).await;
        let (_connection, next) = get_on_new(address, version, "/").await;
        assert_eq!(next.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn with_head_scope_open_bodies_hold_no_permit() {
    for version in VERSIONS {
        let layer = limit_of_two().scope(PermitScope::Head);
        let (address, _streams) = server(&layer).await;
        let mut open = Vec::new();
        for _ in 0..10 {
            let (connection, mut response) = get_on_new(address, version, "/").await;
            assert_eq!(response.status(), StatusCode::OK);
            read_first_frame(&mut response).await;
            open.push((connection, response));
        }
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}

/// An event stream counts only while the service works on its next event.
#[tokio::test]
async fn idle_event_streams_do_not_occupy_an_adaptive_limit() {
    let layer = AdmissionLayer::adaptive("api");
    let (address, _streams) = server(&layer).await;
    let streams = 2 * layer.snapshot().limit;
    let mut open = Vec::new();
    for _ in 0..streams {
        let (connection, mut response) = get_on_new(address, Version::HTTP_11, "/events").await;
        assert_eq!(response.status(), StatusCode::OK);
        read_first_frame(&mut response).await;
        open.push((connection, response));
    }
    assert_eq!(layer.snapshot().in_flight, streams);
    let (_connection, mut download) = get_on_new(address, Version::HTTP_11, "/").await;
    assert_eq!(download.status(), StatusCode::OK);
    read_first_frame(&mut download).await;
    assert_eq!(layer.snapshot().in_flight, streams + 1);
}

#[tokio::test]
async fn event_streams_count_under_a_fixed_limit() {
    let layer = limit_of_two();
    let (address, _streams) = server(&layer).await;
    let _one = get_on_new(address, Version::HTTP_11, "/events").await;
    let _two = get_on_new(address, Version::HTTP_11, "/events").await;
    let (_connection, third) = get_on_new(address, Version::HTTP_11, "/events").await;
    assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
}
