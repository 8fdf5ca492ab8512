//! What answers in place of a rejection: a fallback, or a response of one's own.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backpressure_tests::client::text;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, FallbackLayer, QueueBounds, RETURN_TICKET, Reason, Rejected,
    SHED_REASON, Shed,
};

use super::{WORK, request, send, statuses, work};

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_what_would_be_rejected_and_sees_the_whole_request() {
    static FELL_BACK: AtomicUsize = AtomicUsize::new(0);
    let fallback = service_fn(async |request: Request<Full<Bytes>>| {
        assert!(request.extensions().get::<Shed>().is_none());
        FELL_BACK.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    for bounds in [QueueBounds::NONE, QueueBounds::new(4, WORK / 2)] {
        FELL_BACK.store(0, Ordering::Relaxed);
        let layer = AdmissionLayer::fixed("api", 2).queue(bounds);
        let handle = layer.handle().clone();
        let service = FallbackLayer::new(layer, fallback).layer(service_fn(work));
        let mut running = JoinSet::new();
        for _ in 0..10 {
            running.spawn(service.clone().oneshot(Request::new("cached".into())));
        }
        let responses = running.join_all().await;
        let mut bodies = Vec::new();
        for response in responses.into_iter().flatten() {
            assert_eq!(response.status(), 200);
            assert!(!response.headers().contains_key(SHED_REASON));
            bodies.push(text(response).await);
        }
        bodies.sort_unstable();
        assert_eq!(bodies[..8], vec!["cached"; 8][..], "{bounds:?}");
        assert_eq!(bodies[8..], ["done", "done"]);
        assert_eq!(FELL_BACK.load(Ordering::Relaxed), 8);
        assert_eq!(handle.snapshot().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_while_the_service_inside_is_not_ready() {
    let fallback = service_fn(async |_| Ok(Response::new(Full::<Bytes>::from("cached"))));
    let inner = tower::limit::ConcurrencyLimit::new(service_fn(work), 1);
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::NONE);
    let service = FallbackLayer::new(layer, fallback).layer(inner);
    let running = send(&service, 2).await;
    let start = Instant::now();
    let response = service.oneshot(request()).await.expect("infallible");
    assert_eq!((text(response).await.as_str(), start.elapsed()), ("cached", Duration::ZERO));
    assert_eq!(statuses(running).await, [200; 2]);
    assert_eq!(start.elapsed(), 2 * WORK);
}

#[tokio::test(start_paused = true)]
async fn a_rendered_rejection_keeps_the_headers_that_bring_clients_back_at_the_right_time() {
    let layer = AdmissionLayer::fixed("shop", 1).queue(QueueBounds::NONE).on_reject(|head, _| {
        let language = head.headers.get("accept-language").is_some_and(|it| it == "de");
        let page = if language { "Viel los" } else { "Busy" };
        Response::builder()
            .status(StatusCode::TOO_MANY_REQUESTS)
            .header("retry-after", "0")
            .header("cache-control", "max-age=3600")
            .header("content-type", "text/plain")
            .body(page.into())
            .expect("a response")
    });
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let service = layer.layer(service_fn(work));
    let mut german = request();
    german.headers_mut().insert("accept-language", HeaderValue::from_static("de"));
    let response = service.clone().oneshot(german).await.expect("infallible");
    assert_eq!(response.status(), 429);
    assert_eq!(Rejected::of(&response), Some(Rejected(Reason::Limit)));
    let seconds = response.headers()["retry-after"].to_str().expect("text").parse::<u64>();
    assert!(seconds.is_ok_and(|seconds| seconds >= 1));
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["content-type"], "text/plain");
    assert_eq!(response.headers()[SHED_REASON], "limit");
    assert!(response.headers().contains_key(RETURN_TICKET));
    assert_eq!(response.body().size_hint().exact(), Some(8));
    assert_eq!(text(response).await, "Viel los");
    let mut call = request();
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let response = service.oneshot(call).await.expect("infallible");
    assert_eq!(response.headers()["grpc-status"], "14", "gRPC has a form of its own");
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_has_a_fallback_too() {
    let fallback = service_fn(async |_| Ok(Response::new(Full::<Bytes>::from("cached"))));
    let layer = FallbackLayer::new(BulkheadLayer::new("payments", 1), fallback);
    let service = layer.layer(service_fn(work));
    let running = send(&service, 1).await;
    let response = service.oneshot(request()).await.expect("infallible");
    assert_eq!(text(response).await, "cached");
    assert_eq!(statuses(running).await, [200]);
}
