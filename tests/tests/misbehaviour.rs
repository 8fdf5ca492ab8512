//! What does not end: fallbacks that stall, jobs that hang, streams during a drain.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use backpressure_tests::scripted_body::{Broken, End, ScriptedBody};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, FallbackLayer, QueueLayer, Reason, Rejected,
};

const SECOND: Duration = Duration::from_secs(1);

fn request() -> Request<Full<Bytes>> {
    Request::new(Full::default())
}

async fn hang(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    pending().await
}

async fn work(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    sleep(Duration::from_millis(10)).await;
    Ok(Response::new(Full::from("fresh")))
}

/// Sends this many requests at once; the responses that are there after a minute, and the tasks of the others.
async fn send<S, B>(service: &S, count: usize) -> (Vec<Response<B>>, JoinSet<()>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (service, sender) = (service.clone(), sender.clone());
        tasks.spawn(async move {
            let Ok(response) = service.oneshot(request()).await;
            let _ = sender.send(response);
        });
    }
    drop(sender);
    sleep(60 * SECOND).await;
    let mut responses = Vec::new();
    while let Ok(response) = receiver.try_recv() {
        responses.push(response);
    }
    (responses, tasks)
}

fn assert_told_to_come_back<B>(response: &Response<B>, reason: Reason) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(Rejected::of(response), Some(Rejected(reason)));
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_stalls_holds_a_bounded_number_of_requests_and_no_permit() {
    let admission = AdmissionLayer::from(BulkheadLayer::new("payments", 4));
    let handle = admission.handle().clone();
    let layer = FallbackLayer::new(admission, service_fn(hang)).max_in_flight(100);
    let service = layer.layer(service_fn(work));
    let (responses, mut stalled) = send(&service, 1_000).await;
    assert_eq!(stalled.len() - responses.len(), 100);
    let (served, rejected): (Vec<_>, Vec<_>) =
        responses.iter().partition(|response| response.status() == 200);
    assert!(served.len() >= 4 && rejected.len() >= 800, "{} {}", served.len(), rejected.len());
    for response in rejected {
        assert!(Rejected::of(response).is_some());
        assert!(response.headers().contains_key("retry-after"));
    }
    // A body that is not read holds its permit.
    drop(responses);
    let response = service.clone().oneshot(request()).await.expect("infallible");
    assert_eq!(response.status(), 200, "a permit is free");
    drop(response);
    assert_eq!(handle.snapshot().in_flight, 100);
    stalled.abort_all();
    while stalled.join_next().await.is_some() {}
    assert_eq!(handle.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_hang_hold_their_workers_and_the_others_are_rejected_in_time() {
    let layer = QueueLayer::new("reports", 4, 16);
    let handle = layer.handle().clone();
    let (responses, mut hanging) = send(&layer.layer(service_fn(hang)), 100).await;
    assert_eq!(responses.len(), 96);
    let waited =
        responses.iter().filter(|it| Rejected::of(it) == Some(Rejected(Reason::QueueTimeout)));
    assert_eq!(waited.count(), 16, "those in the queue wait for as long as it allows");
    for response in &responses {
        assert!(response.headers().contains_key("retry-after"));
    }
    assert_eq!((handle.snapshot().in_flight, handle.snapshot().queued), (4, 0));
    hanging.abort_all();
    while hanging.join_next().await.is_some() {}
    let served = layer.layer(service_fn(work)).oneshot(request()).await.expect("infallible");
    assert_eq!(served.status(), 200, "callers that leave free the workers");
}

async fn endless(_: Request<Full<Bytes>>) -> Result<Response<ScriptedBody>, Broken> {
    Ok(Response::new(ScriptedBody::pieces(1, 10).end(End::Hangs)))
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_streams_that_never_end_and_rejects_what_is_new() {
    let layer = AdmissionLayer::fixed("events", 8);
    let (service, handle) = (layer.layer(service_fn(endless)), layer.handle().clone());
    let stream = service.clone().oneshot(request()).await.expect("a stream");
    handle.drain();
    assert!(timeout(60 * SECOND, handle.drained()).await.is_err(), "a stream is open");
    timeout(SECOND, handle.stopping()).await.expect("streams are told at once");
    let rejected = service.oneshot(request()).await.expect("a rejection");
    assert_told_to_come_back(&rejected, Reason::Stopped);
    assert_eq!(rejected.headers()["connection"], "close");
    drop(stream);
    let before = Instant::now();
    handle.drained().await;
    assert!(before.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn answers_during_a_drain_close_connections_of_http_1() {
    for (version, closes) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
        for shares in [false, true] {
            let layer = AdmissionLayer::adaptive("api").expose_permit(shares);
            let service = layer.layer(service_fn(work));
            let mut request = request();
            *request.version_mut() = version;
            let running = tokio::spawn(service.clone().oneshot(request.clone()));
            sleep(Duration::from_millis(5)).await;
            layer.handle().drain();
            let response = running.await.expect("no panic").expect("infallible");
            assert_eq!(response.status(), 200);
            let is_closed = response.headers().get("connection").is_some_and(|it| it == "close");
            assert_eq!(is_closed, closes, "{version:?}");
            layer.handle().resume();
            let response = service.oneshot(request).await.expect("infallible");
            assert!(!response.headers().contains_key("connection"));
            drop(response.into_body().collect().await);
        }
    }
}
