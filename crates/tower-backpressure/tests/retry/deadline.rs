//! The deadline of a call: it ends waits and attempts.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::client::GiveUpReason;
use tower_backpressure::{Attempts, Deadline, GaveUp, RetryLayer};

use crate::memory_server::{Arrivals, SECOND, get, response, server};

/// A service that never responds.
async fn hang(_request: Request<()>) -> Result<Response<String>, Infallible> {
    pending().await
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_at_the_deadline_of_the_layer() {
    let start = Instant::now();
    let layer = RetryLayer::new().deadline(2 * SECOND);
    let response = layer.layer(service_fn(hang)).oneshot(get()).await.unwrap();
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    let gave_up = GaveUp::of(response.extensions()).unwrap();
    assert_eq!((gave_up.reason, gave_up.attempts), (GiveUpReason::Deadline, 1));
    assert!(response.into_body().into_inner().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_at_the_earlier_deadline_of_the_request() {
    let start = Instant::now();
    let mut request = get();
    request.extensions_mut().insert(Deadline(start + SECOND));
    let layer = RetryLayer::new().deadline(2 * SECOND);
    layer.layer(service_fn(hang)).oneshot(request).await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_deadline_has_passed_is_not_sent() {
    let arrivals = Arrivals::default();
    for ago in [Duration::ZERO, SECOND] {
        let mut request = get();
        request.extensions_mut().insert(Deadline(Instant::now() - ago));
        let service = RetryLayer::new().layer(server(&arrivals, &[response(200, &[])]));
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(GaveUp::of(response.extensions()).unwrap().attempts, 0);
    }
    assert_eq!(arrivals.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_suspended_past_the_deadline_sends_no_late_retry() {
    let arrivals = Arrivals::default();
    let service = RetryLayer::new().layer(server(&arrivals, &[response(503, &[])]));
    let mut call = pin!(service.oneshot(get()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending(), "the retry waits");
    advance(3_600 * SECOND).await;
    let response = call.await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(GaveUp::of(response.extensions()).unwrap().reason, GiveUpReason::Deadline);
    assert_eq!(arrivals.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_at_the_moment_of_the_deadline_is_returned() {
    let slow = service_fn(|_: Request<()>| async {
        sleep(SECOND).await;
        Ok::<_, Infallible>(response(200, &[]))
    });
    let layer = RetryLayer::new().deadline(SECOND);
    assert_eq!(layer.layer(slow).oneshot(get()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_that_hangs_ends_with_the_status_of_grpc() {
    let start = Instant::now();
    let call = Request::post("/svc/Method").header("content-type", "application/grpc");
    let call = call.header("grpc-timeout", "1S").body(()).unwrap();
    let response = RetryLayer::new().layer(service_fn(hang)).oneshot(call).await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "4");
}

#[tokio::test(start_paused = true)]
async fn the_default_deadline_ends_no_attempt() {
    let call = RetryLayer::new().layer(service_fn(hang)).oneshot(get());
    assert!(timeout(3_600 * SECOND, call).await.is_err(), "a long poll may take an hour");
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_that_hangs_ends_at_the_deadline_and_says_what_was_asked_for() {
    let arrivals = Arrivals::default();
    let recorder = arrivals.clone();
    let inner = service_fn(move |request| {
        let is_first = recorder.record() == 1;
        async move {
            match is_first {
                true => Ok(response(503, &[("retry-after", "1")])),
                false => hang(request).await,
            }
        }
    });
    let start = Instant::now();
    let layer = RetryLayer::new().deadline(5 * SECOND);
    let response = layer.layer(inner).oneshot(get()).await.unwrap();
    assert_eq!(start.elapsed(), 5 * SECOND);
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    let gave_up = GaveUp::of(response.extensions()).unwrap();
    assert_eq!(gave_up.retry_after.unwrap().delay(), SECOND);
    assert!(gave_up.waited >= SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_becomes_ready_ends_at_the_deadline() {
    let arrivals = Arrivals::default();
    let mut occupied = ConcurrencyLimit::new(server(&arrivals, &[response(200, &[])]), 1);
    let free = occupied.clone();
    occupied.ready().await.unwrap();
    let layer = RetryLayer::new().deadline(SECOND);
    let response = layer.layer(free).oneshot(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(arrivals.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn services_inside_are_told_the_earliest_deadline() {
    let start = Instant::now();
    for (of_layer, of_request, earliest) in [
        (Some(2), None, Some(2)),
        (Some(2), Some(1), Some(1)),
        (None, Some(1), Some(1)),
        (None, None, None),
    ] {
        let told = Arc::new(Mutex::new(None));
        let recorder = Arc::clone(&told);
        let inner = service_fn(move |request: Request<()>| {
            *recorder.lock().unwrap() = request.extensions().get::<Deadline>().copied();
            std::future::ready(Ok::<_, Infallible>(response(200, &[])))
        });
        let mut layer = RetryLayer::new();
        let mut request = get();
        if let Some(seconds) = of_layer {
            layer = layer.deadline(Duration::from_secs(seconds));
        }
        if let Some(seconds) = of_request {
            request.extensions_mut().insert(Deadline(start + Duration::from_secs(seconds)));
        }
        layer.layer(inner).oneshot(request).await.unwrap();
        let earliest = earliest.map(|seconds| Deadline(start + Duration::from_secs(seconds)));
        assert_eq!(*told.lock().unwrap(), earliest, "{of_layer:?} {of_request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_of_a_grpc_call_is_told_what_is_left() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&told);
    let inner = service_fn(move |request: Request<()>| {
        recorder.lock().unwrap().push(request.headers()["grpc-timeout"].clone());
        let unavailable =
            [("grpc-status", "14"), ("x-shed-reason", "limit"), ("grpc-retry-pushback-ms", "600")];
        std::future::ready(Ok::<_, Infallible>(response(200, &unavailable)))
    });
    let call = Request::post("/svc/Method").header("content-type", "application/grpc");
    let call = call.header("grpc-timeout", "1S").body(()).unwrap();
    let start = Instant::now();
    let last = RetryLayer::new().layer(inner).oneshot(call).await.unwrap();
    assert!(start.elapsed() < SECOND);
    assert_eq!(GaveUp::of(last.extensions()).unwrap().reason, GiveUpReason::Deadline);
    let told = told.lock().unwrap();
    assert_eq!(told[0], "1S", "the first attempt is the caller's own");
    let left: u64 = told[1].to_str().unwrap().trim_end_matches(['n', 'u']).parse().unwrap();
    assert!((299_000..=400_000).contains(&left), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_call_of_a_server_that_rejects_ends_before_its_deadline() {
    for seed in 0..200 {
        let arrivals = Arrivals::default();
        let start = Instant::now();
        let layer = RetryLayer::new().deadline(Duration::from_millis(1_500)).seed(seed);
        let service = layer.layer(server(&arrivals, &[response(503, &[])]));
        service.oneshot(get()).await.unwrap();
        assert_eq!(arrivals.count(), 2, "seed {seed}: jitter leaves time for the attempt");
        assert!(start.elapsed() <= Duration::from_millis(1_251), "{:?}", start.elapsed());
    }
}
