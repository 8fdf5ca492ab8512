//! Event streams that send heartbeats keep no short request out of an adaptive limit.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, channel::Channel};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::AdmissionLayer;

const STREAMS: usize = 200;
const REQUESTS: usize = 1_000;

/// A stream with a heartbeat at each of these intervals.
fn heartbeats(every: Duration) -> Channel<Bytes> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        while sender.send(Frame::data(Bytes::from_static(b":\n\n"))).await.is_ok() {
            sleep(every).await;
        }
    });
    body
}

async fn serve(every: Duration, request: Request<Empty<Bytes>>) -> Response<Channel<Bytes>> {
    if request.uri().path() == "/events" {
        let events = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
        return events.body(heartbeats(every)).expect("a response");
    }
    sleep(Duration::from_millis(5)).await;
    Response::new(Channel::new(1).1)
}

#[tokio::test(start_paused = true)]
async fn short_requests_are_served_beside_streams_with_heartbeats() {
    for every in [250, 1_000, 4_000, 15_000].map(Duration::from_millis) {
        let layer = AdmissionLayer::adaptive("api");
        let service = layer.layer(service_fn(move |request| async move {
            Ok::<_, Infallible>(serve(every, request).await)
        }));
        let get = |path: &str| {
            let request = Request::get(path).body(Empty::new()).expect("a request");
            service.clone().oneshot(request)
        };
        let mut readers = JoinSet::new();
        let mut opened = 0;
        for _ in 0..STREAMS {
            let stream = get("/events").await.expect("infallible");
            opened += usize::from(stream.status() == StatusCode::OK);
            let mut body = stream.into_body();
            readers.spawn(async move { while body.frame().await.is_some() {} });
            sleep(Duration::from_millis(50)).await;
        }
        let mut served = 0;
        for _ in 0..REQUESTS {
            let response = get("/").await.expect("infallible");
            served += usize::from(response.status() == StatusCode::OK);
            sleep(Duration::from_millis(20)).await;
        }
        println!("{every:?}: {opened} streams, {served} served, {:?}", layer.snapshot());
        assert_eq!(served, REQUESTS, "{every:?}: {:?}", layer.snapshot());
    }
}
