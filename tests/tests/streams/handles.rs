//! A handler releases its permit early, or holds it beyond its response.

use std::convert::Infallible;

use backpressure_tests::scripted_body::ScriptedBody;
use http::{Method, Request, Response};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, BulkheadLayer};

use super::{SECOND, get, kinds, permit_of, short_requests};

#[tokio::test(start_paused = true)]
async fn a_long_poll_that_releases_its_permit_keeps_no_request_out() {
    for layer in kinds() {
        let layer = layer.expose_permit(true);
        let service = layer.layer(service_fn(async |request: Request<()>| {
            let permit = permit_of(&request);
            if request.uri().path() == "/poll" {
                permit.release();
                permit.release();
                sleep(60 * SECOND).await;
            }
            sleep(SECOND / 100).await;
            Ok::<_, Infallible>(Response::new(ScriptedBody::pieces(1, 10)))
        }));
        let mut polls = JoinSet::new();
        for _ in 0..100 {
            polls.spawn(service.clone().oneshot(get("/poll")));
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        let permits = || layer.limiter().snapshot().in_flight;
        assert_eq!((permits(), layer.snapshot().in_flight), (0, 100));
        assert_eq!(short_requests(&service).await, 500, "{layer:?}");
        let drained = timeout(SECOND, layer.handle().drained()).await;
        assert!(drained.is_err(), "a drain waits for what has released its permit");
        for poll in polls.join_all().await {
            assert_eq!(poll.expect("infallible").status(), 200);
        }
        assert_eq!((layer.snapshot().in_flight, layer.snapshot().apart), (0, 0));
    }
}

/// Holds the permit of its request for ten seconds in a task of its own; responds at once, or never.
async fn spawns_work(request: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    let held = permit_of(&request).hold();
    tokio::spawn(async move {
        sleep(10 * SECOND).await;
        drop(held);
    });
    if request.uri().path() == "/hangs" {
        std::future::pending().await
    }
    Ok(Response::new(ScriptedBody::default()))
}

#[tokio::test(start_paused = true)]
async fn a_held_permit_outlives_its_response_and_its_caller() {
    for layer in kinds() {
        let layer = layer.min(8).expose_permit(true);
        let service = layer.layer(service_fn(spawns_work));
        for _ in 0..4 {
            let response = service.clone().oneshot(get("/")).await.expect("infallible");
            assert_eq!(response.status(), 200);
            let hangs = service.clone().oneshot(get("/hangs"));
            assert!(timeout(SECOND / 10, hangs).await.is_err(), "its caller leaves");
        }
        for second in 1..9 {
            let now = layer.snapshot();
            assert_eq!((now.in_flight, now.apart), (8, 0), "at {second} s: it counts all the time");
            let rejected = service.clone().oneshot(get("/")).await.expect("infallible");
            assert_eq!(rejected.status(), 503, "the work that was spawned is bounded");
            sleep(SECOND).await;
        }
        sleep(2 * SECOND).await;
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}

#[tokio::test]
async fn blocking_work_that_outlives_its_caller_is_bounded() {
    let layer = BulkheadLayer::new("compute", 2).expose_permit(true);
    let (started, finish) =
        (std::sync::mpsc::channel(), std::sync::Arc::new(std::sync::Barrier::new(3)));
    let (sender, barrier) = (started.0, std::sync::Arc::clone(&finish));
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let (held, sender) = (permit_of(&request).hold(), sender.clone());
        let barrier = std::sync::Arc::clone(&barrier);
        tokio::task::spawn_blocking(move || {
            sender.send(()).expect("the test waits");
            barrier.wait();
            drop(held);
        });
        std::future::pending::<Result<Response<ScriptedBody>, Infallible>>()
    }));
    let mut abandoned: Vec<_> =
        (0..2).map(|_| tokio::spawn(service.clone().oneshot(get("/")))).collect();
    for _ in 0..2 {
        while started.1.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    }
    abandoned.iter().for_each(tokio::task::JoinHandle::abort);
    for task in abandoned.drain(..) {
        let _ = task.await;
    }
    assert_eq!(layer.snapshot().in_flight, 2);
    assert_eq!(service.oneshot(get("/")).await.expect("infallible").status(), 503);
    tokio::task::spawn_blocking(move || finish.wait()).await.expect("no panic");
    layer.handle().drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_handle_without_a_permit_or_after_the_head_does_nothing() {
    let layer = AdmissionLayer::fixed("api", 1)
        .expose_permit(true)
        .exempt(|head| head.method == Method::OPTIONS);
    let (sender, mut handles) = mpsc::unbounded_channel();
    let service = layer.layer(service_fn(move |request: Request<()>| {
        sender.send(permit_of(&request)).expect("the test waits");
        std::future::ready(Ok::<_, Infallible>(Response::new(ScriptedBody::pieces(2, 10))))
    }));
    let exempt = Request::builder().method(Method::OPTIONS).body(()).expect("a request");
    let response = service.clone().oneshot(exempt).await.expect("infallible");
    let handle = handles.recv().await.expect("a request came");
    handle.release();
    drop(handle.hold());
    drop(response);
    let response = service.clone().oneshot(get("/")).await.expect("infallible");
    let handle = handles.recv().await.expect("a request came");
    handle.release();
    let held = handle.hold();
    assert_eq!(layer.snapshot().in_flight, 1, "the body holds it");
    drop(response);
    assert_eq!(layer.snapshot().in_flight, 0);
    drop((held, handle));
    assert_eq!(service.oneshot(get("/")).await.expect("infallible").status(), 200);
}
