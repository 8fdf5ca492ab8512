//! Bounds of the limit: no number that a limit or an operator gives makes a running service panic.

use std::convert::Infallible;
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use backpressure_tests::recording_limit::RecordingLimit;
use backpressure_tests::scripted_body::{End, ScriptedBody};
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    Adaptive, AdmissionLayer, BulkheadLayer, Fixed, Limiter, Metering, QueueBounds,
};

async fn ok(_: Request<()>) -> Result<Response<String>, Infallible> {
    tokio::task::yield_now().await;
    Ok(Response::new(String::new()))
}

/// Sends 50 requests at once and returns how many were served.
async fn served_of_50(layer: &AdmissionLayer) -> usize {
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        requests.spawn(layer.layer(service_fn(ok)).oneshot(Request::new(())));
    }
    let responses = requests.join_all().await;
    responses
        .into_iter()
        .filter(|response| response.as_ref().is_ok_and(|response| response.status() == 200))
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_or_above_the_maximum_is_clamped() {
    for (unclamped, limit) in [(0, 1), (1 << 20, 1_000_000), (usize::MAX, 1_000_000)] {
        let layer = AdmissionLayer::with_limit("api", RecordingLimit::new(unclamped));
        assert_eq!(layer.snapshot().limit, limit, "{unclamped}");
        assert_eq!(served_of_50(&layer).await, 50, "{unclamped}");
        let snapshot = layer.snapshot();
        assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0), "{unclamped}");
    }
}

#[tokio::test(start_paused = true)]
async fn changing_a_running_limiter_never_panics_and_requests_are_still_served() {
    let layer = AdmissionLayer::fixed("api", 8);
    for (min, max) in [(0, 0), (5, 2), (usize::MAX, 0), (0, usize::MAX), (1, 1_000_000)] {
        layer.limiter().bound_limit(min, max);
        layer.limiter().replace_limit(RecordingLimit::new(0));
        layer.limiter().bound_queue(QueueBounds::new(usize::MAX, Duration::from_secs(1)));
        assert!((1..=1_000_000).contains(&layer.snapshot().limit), "{min}..={max}");
        assert_eq!(served_of_50(&layer).await, 50, "{min}..={max}");
    }
}

#[test]
fn bounds_hold_for_the_current_limit_and_for_a_replacement() {
    let layer = AdmissionLayer::adaptive("api").min(4).max(20);
    assert!((4..=20).contains(&layer.snapshot().limit));
    layer.limiter().replace_limit(Fixed::new(500));
    assert_eq!(layer.snapshot().limit, 20);
    layer.limiter().replace_limit(Fixed::new(1));
    assert_eq!(layer.snapshot().limit, 4);
    layer.limiter().bound_limit(1, 1_000_000);
    assert_eq!(layer.snapshot().limit, 1);
}

#[test]
#[should_panic(expected = "min must be in 1..=20")]
fn a_minimum_above_the_maximum_panics_at_construction() {
    let _ = AdmissionLayer::adaptive("api").max(20).min(21);
}

#[test]
#[should_panic(expected = "initial must be in 4..=20")]
fn an_initial_limit_outside_the_bounds_panics_at_construction() {
    let _ = AdmissionLayer::adaptive("api").min(4).max(20).initial(21);
}

#[test]
fn the_try_constructors_return_an_error_for_an_invalid_limit() {
    for wrong in [0, 1_000_001] {
        let errors = [
            AdmissionLayer::try_fixed("api", wrong).err(),
            BulkheadLayer::try_new("payments", wrong).err(),
            Fixed::try_new(wrong).err(),
            Limiter::try_fixed(wrong, QueueBounds::NONE).err(),
        ];
        for error in errors {
            let message = error.expect("out of range").to_string();
            assert_eq!(message, "limit must be in 1..=1000000");
        }
    }
    assert_eq!(AdmissionLayer::try_fixed("api", 7).expect("in range").snapshot().limit, 7);
}

/// Whether a layer does what only an adaptive limit needs: it measures time in the run queue, yields
/// before a request runs, and does not count a long body until the service works on it.
async fn acts_adaptively(layer: &AdmissionLayer) -> bool {
    let stream = layer.layer(service_fn(async |_: Request<()>| {
        let body = ScriptedBody::pieces(1, 10).end(End::Hangs);
        let response = Response::builder().header("content-type", "text/event-stream");
        Ok::<_, Infallible>(response.body(body).expect("a response"))
    }));
    let response = stream.oneshot(Request::new(())).await.expect("infallible");
    let counts_apart = layer.snapshot().apart == 1;
    drop(response);
    let mut permit = layer.limiter().try_acquire().expect("a free permit");
    let mut work = std::pin::pin!(permit.measure(async {}));
    let first_poll = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
    let yields = first_poll.is_pending();
    assert_eq!(counts_apart, yields);
    assert_eq!(counts_apart, layer.limiter().metering() == Metering::RunQueue);
    counts_apart
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_is_measured_the_same_way_however_it_is_installed() {
    assert!(acts_adaptively(&AdmissionLayer::adaptive("api")).await);
    assert!(acts_adaptively(&AdmissionLayer::with_limit("api", Adaptive::new(1))).await);
    let layer = AdmissionLayer::fixed("api", 8);
    assert!(!acts_adaptively(&layer).await);
    layer.limiter().replace_limit(Adaptive::new(1));
    assert!(acts_adaptively(&layer).await);
    layer.limiter().replace_limit(Fixed::new(8));
    assert!(!acts_adaptively(&layer).await);
}
