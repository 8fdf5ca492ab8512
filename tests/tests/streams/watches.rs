//! Streams that watch, and those that are work.

use std::convert::Infallible;
use std::time::Duration;

use backpressure_tests::scripted_body::{End, ScriptedBody};
use http::{Method, Request, Response, Version};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, PermitScope, QueueBounds, SHED_REASON, StreamPolicy,
};

use super::{SECOND, kinds, open, serve, served, short_requests};

#[tokio::test(start_paused = true)]
async fn streams_that_watch_take_no_permit_and_have_a_cap_of_their_own() {
    for layer in kinds() {
        let layer = layer.streams(StreamPolicy::Watch(100));
        let service = layer.layer(service_fn(serve));
        let mut streams = open(&service, 130).await;
        assert_eq!(served(&streams), 100);
        assert_eq!((layer.snapshot().in_flight, layer.handle().streams()), (0, 100));
        for rejected in &streams[100..] {
            assert_eq!(rejected.status(), 503);
            assert_eq!(rejected.headers()["retry-after"], "5");
            assert!(!rejected.headers().contains_key(SHED_REASON), "its handler has run");
        }
        assert_eq!(short_requests(&service).await, 500, "{layer:?}");
        streams.truncate(50);
        assert_eq!(layer.handle().streams(), 50);
        assert_eq!(served(&open(&service, 1).await), 1, "a place under the cap is free again");
        drop(streams);
        assert_eq!(layer.handle().streams(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_bounds_streams_and_requests_apart() {
    let layer = BulkheadLayer::new("events", 4).streams(StreamPolicy::Watch(6));
    let service = layer.layer(service_fn(serve));
    let streams = open(&service, 10).await;
    assert_eq!(served(&streams), 6);
    assert_eq!(short_requests(&service).await, 500);
}

#[tokio::test(start_paused = true)]
async fn streams_that_count_to_their_head_only_are_not_bounded() {
    for layer in kinds() {
        let service = layer.streams(StreamPolicy::Head).layer(service_fn(serve));
        let streams = open(&service, 1_000).await;
        assert_eq!(served(&streams), 1_000);
        assert_eq!(short_requests(&service).await, 500);
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_work_hold_their_permits() {
    let layer = AdmissionLayer::fixed("api", 4).queue(QueueBounds::NONE);
    for policy in [None, Some(StreamPolicy::Work)] {
        let layer = policy.map_or(layer.clone(), |policy| layer.clone().streams(policy));
        let streams = open(&layer.layer(service_fn(serve)), 6).await;
        assert_eq!(served(&streams), 4);
        assert_eq!(layer.snapshot().in_flight, 4);
        assert_eq!(streams[5].headers()[SHED_REASON], "limit");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cap_on_streams_holds_whatever_the_scope_and_counts_only_in_a_dry_run() {
    let layer = AdmissionLayer::fixed("api", 4).streams(StreamPolicy::Watch(2));
    let scoped = layer.clone().scope(PermitScope::Head);
    let streams = open(&scoped.layer(service_fn(serve)), 3).await;
    assert_eq!(served(&streams), 2);
    drop(streams);
    let streams = open(&layer.dry_run(true).layer(service_fn(serve)), 3).await;
    assert_eq!(served(&streams), 3);
}

#[tokio::test(start_paused = true)]
async fn a_users_rule_tells_streams_that_have_no_type_of_their_own() {
    let layer = AdmissionLayer::fixed("api", 1)
        .streams(StreamPolicy::Watch(10))
        .stream_if(|head| head.uri.path() == "/events");
    let service = layer.layer(service_fn(async |_: Request<()>| {
        let body = ScriptedBody::pieces(1, 10).end(End::Hangs);
        Ok::<_, Infallible>(Response::new(body))
    }));
    assert_eq!(served(&open(&service, 12).await), 10);
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_streams_and_waits_for_them() {
    let layer = AdmissionLayer::fixed("api", 4).streams(StreamPolicy::Watch(10));
    let handle = layer.handle().clone();
    let service = layer.layer(service_fn(serve));
    let mut watchers = JoinSet::new();
    for stream in open(&service, 10).await {
        let handle = handle.clone();
        watchers.spawn(async move {
            handle.stopping().await;
            sleep(3 * SECOND).await;
            drop(stream);
        });
    }
    sleep(SECOND).await;
    let start = Instant::now();
    handle.drain();
    handle.drained().await;
    assert_eq!(start.elapsed().as_secs(), 3);
    timeout(Duration::ZERO, handle.stopping())
        .await
        .expect("a stream that opens now is told at once");
}

#[tokio::test(start_paused = true)]
async fn a_success_of_connect_is_a_stream_and_its_refusal_is_none() {
    let layer = AdmissionLayer::fixed("proxy", 1).streams(StreamPolicy::Watch(1));
    let service = layer.layer(service_fn(async |request: Request<u16>| {
        let body = ScriptedBody::pieces(1, 1).end(End::Hangs);
        let response = Response::builder().status(request.into_body()).version(Version::HTTP_2);
        Ok::<_, Infallible>(response.body(body).expect("a response"))
    }));
    let connect = |status: u16| {
        let request = Request::builder().method(Method::CONNECT).uri("host:443");
        service.clone().oneshot(request.body(status).expect("a request"))
    };
    let refused = connect(403).await.expect("infallible");
    assert_eq!((layer.snapshot().in_flight, layer.handle().streams()), (1, 0));
    drop(refused);
    let _tunnel = connect(200).await.expect("infallible");
    assert_eq!((layer.snapshot().in_flight, layer.handle().streams()), (0, 1));
    assert_eq!(connect(200).await.expect("infallible").status(), 503);
}
