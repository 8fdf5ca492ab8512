//! Requests above the limit of an origin are queued or rejected before they are sent.

use std::convert::Infallible;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use backpressure_tests::scripted_body::ScriptedBody;
use http::{Method, Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::{
    Attempts, Deadline, OriginLimitLayer, QueueBounds, RetryLayer, SHED_REASON, Shed,
};

use super::{
    INITIAL_LIMIT, ORIGIN, SECOND, Server, get, is_local, limiter, never, spawn_calls, status,
};

#[tokio::test(start_paused = true)]
async fn requests_above_the_limit_are_queued_and_sent_when_permits_are_released() {
    let layer = OriginLimitLayer::new("search");
    let server = Server::new(10 * INITIAL_LIMIT, SECOND / 2);
    let client = server.behind(&layer);
    let mut calls = JoinSet::new();
    for _ in 0..INITIAL_LIMIT + 10 {
        calls.spawn(status(client.clone(), ORIGIN));
    }
    sleep(SECOND / 4).await;
    let now = limiter(&layer, ORIGIN).snapshot();
    assert_eq!((now.in_flight, now.queued), (INITIAL_LIMIT, 10));
    assert_eq!(server.in_flight.load(SeqCst), INITIAL_LIMIT);
    assert!(calls.join_all().await.iter().all(|&status| status == StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_marked_as_local_and_has_a_retry_after() {
    let layer = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
    let server = Server::new(INITIAL_LIMIT, 10 * SECOND);
    let client = server.behind(&layer);
    let _calls = spawn_calls(&client, ORIGIN, INITIAL_LIMIT);
    sleep(SECOND).await;
    let response = client.oneshot(get(ORIGIN)).await.expect("a rejection is a response");
    let shed = *response.extensions().get::<Shed>().expect("a local rejection is marked");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[&SHED_REASON], "limit");
    let retry_after = response.headers()["retry-after"].to_str().expect("text");
    let retry_after = Duration::from_secs(retry_after.parse().expect("whole seconds"));
    assert!(
        retry_after >= shed.retry_after && retry_after < shed.retry_after + SECOND,
        "{retry_after:?} for {shed}"
    );
    assert_eq!(server.in_flight.load(SeqCst), INITIAL_LIMIT, "nothing was sent");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_by_the_server_is_forwarded_unchanged() {
    let client = OriginLimitLayer::new("search").layer(service_fn(async |_: Request<()>| {
        let upstream = Response::builder().status(503).header(SHED_REASON, "queue-full");
        let upstream = upstream.header("retry-after", "7").body(ScriptedBody::pieces(1, 10));
        Ok::<_, Infallible>(upstream.expect("a response"))
    }));
    let response = client.oneshot(get(ORIGIN)).await.expect("infallible");
    assert!(!is_local(&response));
    assert_eq!(response.headers()[&SHED_REASON], "queue-full", "the marker of the server");
    assert_eq!(response.headers()["retry-after"], "7");
}

#[tokio::test(start_paused = true)]
async fn a_retry_layer_sends_a_locally_rejected_request_again_whatever_its_method() {
    let layer = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
    let server = Server::new(INITIAL_LIMIT, SECOND / 2);
    let limited = server.behind(&layer);
    let _calls = spawn_calls(&limited, ORIGIN, INITIAL_LIMIT);
    sleep(SECOND / 10).await;
    let client = ServiceBuilder::new().layer(RetryLayer::new()).service(limited);
    let post = Request::builder().method(Method::POST).uri(ORIGIN).body(()).expect("a request");
    let start = Instant::now();
    let retried = tokio::spawn(client.oneshot(post));
    sleep(SECOND * 6 / 10).await;
    let now = limiter(&layer, ORIGIN).snapshot();
    assert_eq!((now.in_flight, now.queued), (0, 0), "a retry pause holds no permit");
    let response = retried.await.expect("no panic").expect("infallible");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    assert!(start.elapsed() >= SECOND, "not before the time in Retry-After");
}

#[tokio::test(start_paused = true)]
async fn a_queued_request_is_rejected_at_its_deadline() {
    let layer = OriginLimitLayer::new("search");
    let client = layer.layer(service_fn(never));
    let _calls = spawn_calls(&client, ORIGIN, INITIAL_LIMIT);
    sleep(SECOND).await;
    let mut request = get(ORIGIN);
    request.extensions_mut().insert(Deadline(Instant::now() + SECOND / 10));
    let start = Instant::now();
    let response = client.oneshot(request).await.expect("a rejection");
    assert_eq!(response.headers()[&SHED_REASON], "deadline");
    assert!(start.elapsed() < SECOND / 5);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_releases_its_permit_or_leaves_the_queue() {
    let layer = OriginLimitLayer::new("search");
    let client = layer.layer(service_fn(never));
    let calls = spawn_calls(&client, ORIGIN, INITIAL_LIMIT + 10);
    sleep(SECOND / 10).await;
    let limiter = limiter(&layer, ORIGIN);
    assert_eq!((limiter.snapshot().in_flight, limiter.snapshot().queued), (INITIAL_LIMIT, 10));
    for call in calls {
        call.abort();
        let _ = call.await;
    }
    assert_eq!((limiter.snapshot().in_flight, limiter.snapshot().queued), (0, 0));
}
