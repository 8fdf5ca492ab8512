//! A permit lasts as long as the body, and no longer.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use backpressure_tests::client::{Answer, Connection, text};
use backpressure_tests::server::{all_gone, in_flight, serve};
use bytes::Bytes;
use http::{Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use tower_backpressure::{AdmissionLayer, PermitScope, QueueBounds};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// What a handler left open.
type Streams = Arc<Mutex<Vec<Sender<Bytes>>>>;

/// Answers at once, with a body that goes on until its sender is dropped.
fn stream(streams: &Streams, kind: &'static str) -> Response<Body> {
    let (mut sender, body) = Channel::new(8);
    sender.try_send(http_body::Frame::data(Bytes::from_static(b"first"))).expect("room for one");
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
) -> (Connection, Answer) {
    let mut connection = Connection::open(address, version).await;
    let answer = connection.get(path).await.expect("an answer");
    (connection, answer)
}

/// Reads one frame.
async fn first(answer: &mut Answer) {
    let frame = answer.body_mut().frame().await.expect("a frame").expect("not broken");
    assert_eq!(frame.data_ref().map(Bytes::as_ref), Some(&b"first"[..]));
}

fn two() -> AdmissionLayer {
    AdmissionLayer::fixed("two", 2).queue(QueueBounds::NONE)
}

#[tokio::test]
async fn a_limit_of_two_lets_two_bodies_live() {
    for version in VERSIONS {
        let layer = two();
        let (address, streams) = server(&layer).await;
        let (_one, mut first_body) = get_on_new(address, version, "/").await;
        let (_two, mut second_body) = get_on_new(address, version, "/").await;
        first(&mut first_body).await;
        first(&mut second_body).await;
        for _ in 0..10 {
            let (_connection, third) = get_on_new(address, version, "/").await;
            assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(layer.snapshot().in_flight, 2);

        // One stream ends and is read to its end: one more may live.
        drop(streams.lock().expect("no panic").remove(0));
        assert_eq!(text(first_body).await, "");
        in_flight(&layer, 1).await;
        let (_connection, mut next) = get_on_new(address, version, "/").await;
        assert_eq!(next.status(), StatusCode::OK);
        first(&mut next).await;
        let (_connection, refused) = get_on_new(address, version, "/").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn a_body_that_is_given_up_makes_room() {
    for version in VERSIONS {
        let layer = two();
        let (address, _streams) = server(&layer).await;
        let one = get_on_new(address, version, "/").await;
        let two = get_on_new(address, version, "/").await;
        assert_eq!(layer.snapshot().in_flight, 2);
        drop(one);
        in_flight(&layer, 1).await;
        drop(two);
        all_gone(&layer).await;
        let (_connection, next) = get_on_new(address, version, "/").await;
        assert_eq!(next.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn with_the_scope_of_a_head_streams_do_not_count() {
    for version in VERSIONS {
        let layer = two().scope(PermitScope::Head);
        let (address, _streams) = server(&layer).await;
        let mut open = Vec::new();
        for _ in 0..10 {
            let (connection, mut answer) = get_on_new(address, version, "/").await;
            assert_eq!(answer.status(), StatusCode::OK);
            first(&mut answer).await;
            open.push((connection, answer));
        }
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}

/// A stream counts while the service works on its next event, and apart when nothing happens on it.
#[tokio::test]
async fn event_streams_do_not_fill_an_adaptive_limit() {
    let layer = AdmissionLayer::adaptive("api");
    let (address, _streams) = server(&layer).await;
    let many = 2 * layer.snapshot().limit;
    let mut open = Vec::new();
    for _ in 0..many {
        let (connection, mut answer) = get_on_new(address, Version::HTTP_11, "/events").await;
        assert_eq!(answer.status(), StatusCode::OK);
        first(&mut answer).await;
        open.push((connection, answer));
    }
    assert_eq!(layer.snapshot().in_flight, many);
    let (_connection, mut download) = get_on_new(address, Version::HTTP_11, "/").await;
    assert_eq!(download.status(), StatusCode::OK);
    first(&mut download).await;
    assert_eq!(layer.snapshot().in_flight, many + 1);
}

#[tokio::test]
async fn event_streams_count_under_a_limit_that_somebody_chose() {
    let layer = two();
    let (address, _streams) = server(&layer).await;
    let _one = get_on_new(address, Version::HTTP_11, "/events").await;
    let _two = get_on_new(address, Version::HTTP_11, "/events").await;
    let (_connection, third) = get_on_new(address, Version::HTTP_11, "/events").await;
    assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
}
