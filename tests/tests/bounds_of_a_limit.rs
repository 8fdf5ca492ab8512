//! An operator bounds the limit, and no number takes a running service down.

use std::convert::Infallible;
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use backpressure_core::{Limit, Sample, Timestamp};
use backpressure_tests::script::{End, Script};
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    Adaptive, AdmissionLayer, BulkheadLayer, Fixed, Limiter, Metering, QueueBounds,
};

/// A limit that answers this, whatever happens.
#[derive(Debug)]
struct Answers(usize);

impl Limit for Answers {
    fn limit(&self) -> usize {
        self.0
    }

    fn observe(&mut self, _sample: &Sample, _now: Timestamp) {}
}

async fn ok(_: Request<()>) -> Result<Response<String>, Infallible> {
    tokio::task::yield_now().await;
    Ok(Response::new(String::new()))
}

/// Sends 50 requests at once; how many were served.
async fn served(layer: &AdmissionLayer) -> usize {
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        requests.spawn(layer.layer(service_fn(ok)).oneshot(Request::new(())));
    }
    let answers = requests.join_all().await;
    answers.into_iter().filter(|answer| answer.as_ref().is_ok_and(|it| it.status() == 200)).count()
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_answers_nothing_or_too_much_is_clamped() {
    for (answer, limit) in [(0, 1), (1 << 20, 1_000_000), (usize::MAX, 1_000_000)] {
        let layer = AdmissionLayer::with_limit("api", Answers(answer));
        assert_eq!(layer.snapshot().limit, limit, "{answer}");
        assert_eq!(served(&layer).await, 50, "{answer}");
        let snapshot = layer.snapshot();
        assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_admin_call_never_panics_and_the_service_goes_on() {
    let layer = AdmissionLayer::fixed("api", 8);
    for (min, max) in [(0, 0), (5, 2), (usize::MAX, 0), (0, usize::MAX), (1, 1_000_000)] {
        layer.limiter().bound_limit(min, max);
        layer.limiter().replace_limit(Answers(0));
        layer.limiter().bound_queue(QueueBounds::new(usize::MAX, Duration::from_secs(1)));
        assert!((1..=1_000_000).contains(&layer.snapshot().limit), "{min}..={max}");
        assert_eq!(served(&layer).await, 50, "{min}..={max}");
    }
}

#[test]
fn bounds_hold_for_the_limit_there_is_and_for_the_next_one() {
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
fn bounds_that_exclude_each_other_are_refused_when_the_layer_is_made() {
    let _ = AdmissionLayer::adaptive("api").max(20).min(21);
}

#[test]
#[should_panic(expected = "initial must be in 4..=20")]
fn a_start_outside_the_bounds_is_refused_when_the_layer_is_made() {
    let _ = AdmissionLayer::adaptive("api").min(4).max(20).initial(21);
}

#[test]
fn a_wrong_number_can_be_an_error_instead_of_a_panic() {
    for wrong in [0, 1_000_001] {
        let errors = [
            AdmissionLayer::try_fixed("api", wrong).err(),
            BulkheadLayer::try_new("payments", wrong).err(),
            Fixed::try_new(wrong).err(),
            Limiter::try_fixed(wrong, QueueBounds::NONE).err(),
        ];
        for error in errors {
            let said = error.expect("out of range").to_string();
            assert_eq!(said, "limit must be in 1..=1000000");
        }
    }
    assert_eq!(AdmissionLayer::try_fixed("api", 7).expect("in range").snapshot().limit, 7);
}

/// What an adaptive layer does that a fixed one does not: it measures time in the run queue, yields
/// before a request runs, and counts a long body apart until it works.
async fn acts_adaptively(layer: &AdmissionLayer) -> bool {
    let stream = layer.layer(service_fn(async |_: Request<()>| {
        let body = Script::pieces(1, 10).end(End::Hangs);
        let answer = Response::builder().header("content-type", "text/event-stream");
        Ok::<_, Infallible>(answer.body(body).expect("a response"))
    }));
    let answer = stream.oneshot(Request::new(())).await.expect("infallible");
    let counts_apart = layer.snapshot().apart == 1;
    drop(answer);
    let mut permit = layer.limiter().try_acquire().expect("room for one");
    let mut work = std::pin::pin!(permit.measure(async {}));
    let first_poll = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
    let yields = first_poll.is_pending();
    assert_eq!(counts_apart, yields);
    assert_eq!(counts_apart, layer.limiter().metering() == Metering::RunQueue);
    counts_apart
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_is_measured_alike_however_it_came_into_the_layer() {
    assert!(acts_adaptively(&AdmissionLayer::adaptive("api")).await);
    assert!(acts_adaptively(&AdmissionLayer::with_limit("api", Adaptive::new(1))).await);
    let layer = AdmissionLayer::fixed("api", 8);
    assert!(!acts_adaptively(&layer).await);
    layer.limiter().replace_limit(Adaptive::new(1));
    assert!(acts_adaptively(&layer).await);
    layer.limiter().replace_limit(Fixed::new(8));
    assert!(!acts_adaptively(&layer).await);
}
