//! The deadline of a call: it ends waits and attempts.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::{Instant, timeout};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_backpressure::client::{DeadlineExceeded, GiveUpReason};
use tower_backpressure::{Deadline, GaveUp, RetryLayer};

use crate::memory_server::{Arrivals, SECOND, get, response, server};

/// A service that never responds, and the number of its requests.
fn hanging()
-> impl tower::Service<Request<()>, Response = Response<String>, Error = BoxError, Future: Send>
+ Clone
+ Send {
    service_fn(|_: Request<()>| async { pending::<Result<Response<String>, BoxError>>().await })
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_at_the_deadline_of_the_layer() {
    let start = Instant::now();
    let layer = RetryLayer::new().deadline(2 * SECOND);
    let error = layer.layer(hanging()).oneshot(get()).await.unwrap_err();
    assert!(error.is::<DeadlineExceeded>());
    assert_eq!(start.elapsed(), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_at_the_earlier_deadline_of_the_request() {
    let start = Instant::now();
    let mut request = get();
    request.extensions_mut().insert(Deadline(start + SECOND));
    let layer = RetryLayer::new().deadline(2 * SECOND);
    assert!(layer.layer(hanging()).oneshot(request).await.is_err());
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_default_deadline_ends_no_attempt() {
    let call = RetryLayer::new().layer(hanging()).oneshot(get());
    assert!(timeout(3_600 * SECOND, call).await.is_err(), "a long poll may take an hour");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_says_so() {
    let mut service = RetryLayer::new().deadline(SECOND).layer(hanging());
    let mut call = std::pin::pin!(tower::Service::call(&mut service, get()));
    assert!(call.as_mut().await.is_err());
    let gave_up = call.gave_up().unwrap();
    assert_eq!((gave_up.reason, gave_up.attempts), (GiveUpReason::Deadline, 1));
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
        let unavailable = [("grpc-status", "14"), ("grpc-retry-pushback-ms", "600")];
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
