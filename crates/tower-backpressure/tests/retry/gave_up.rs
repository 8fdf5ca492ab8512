//! What a caller learns after the last attempt.

use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use http::{Method, Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::client::{GiveUpReason, LongRetryAfter};
use tower_backpressure::{Attempts, GaveUp, RetryBudget, RetryLayer};

use crate::memory_server::{Arrivals, SECOND, get, ok, request, response, server};

async fn gave_up(
    layer: RetryLayer,
    request: Request<()>,
    last: Response<String>,
) -> Option<GaveUp> {
    let service = layer.layer(server(&Arrivals::default(), &[last]));
    GaveUp::of(service.oneshot(request).await.unwrap().extensions())
}

#[tokio::test(start_paused = true)]
async fn a_response_says_why_it_was_not_retried_what_was_asked_and_how_long_it_took() {
    let asks_for = |value| response(503, &[("retry-after", value)]);
    let no_budget = RetryLayer::new().budget(RetryBudget::new(0.0).reserve(0));
    let soon = RetryLayer::new().deadline(SECOND);
    let cases = [
        (RetryLayer::new(), get(), asks_for("1"), GiveUpReason::Attempts, 3, Some(1)),
        (no_budget, get(), asks_for("7"), GiveUpReason::Budget, 1, Some(7)),
        (soon, get(), asks_for("3"), GiveUpReason::Deadline, 1, Some(3)),
        (RetryLayer::new(), get(), asks_for("90"), GiveUpReason::RetryAfter, 1, Some(90)),
        (RetryLayer::new(), get(), asks_for("-1"), GiveUpReason::Forbidden, 1, Some(600)),
        (
            RetryLayer::new(),
            request(Method::POST),
            asks_for("9"),
            GiveUpReason::NotIdempotent,
            1,
            Some(9),
        ),
        (RetryLayer::new(), get(), response(502, &[]), GiveUpReason::Attempts, 3, None),
    ];
    for (layer, request, last, reason, attempts, asked) in cases {
        let told = gave_up(layer, request, last).await.unwrap();
        assert_eq!((told.reason, told.attempts), (reason, attempts));
        assert_eq!(told.retry_after.map(|field| field.delay().as_secs()), asked, "{reason}");
        assert_eq!(told.waited.is_zero(), attempts == 1, "{reason}: {:?}", told.waited);
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_and_a_failure_that_no_retry_repairs_say_nothing() {
    for last in [ok(), response(404, &[]), response(500, &[])] {
        assert_eq!(gave_up(RetryLayer::new(), get(), last).await, None);
    }
    let service =
        RetryLayer::new().layer(server(&Arrivals::default(), &[response(503, &[]), ok()]));
    let repaired = service.oneshot(get()).await.unwrap();
    assert_eq!(Attempts::of(repaired.extensions()), Attempts(2));
    assert_eq!(GaveUp::of(repaired.extensions()), None);
}

#[tokio::test(start_paused = true)]
async fn the_future_says_why_an_error_was_not_retried() {
    let mut responses = 0;
    let broken = service_fn(move |_: Request<()>| {
        responses += 1;
        ready(match responses {
            1 => Ok(response(503, &[("retry-after", "2")])),
            _ => Err("connection reset"),
        })
    });
    let mut service =
        RetryLayer::new().layer(tower::util::BoxCloneService::new(Shared::of(broken)));
    let mut call = pin!(service.call(get()));
    assert_eq!(call.as_mut().await.unwrap_err(), "connection reset");
    let told = call.gave_up().unwrap();
    assert_eq!((told.reason, told.attempts), (GiveUpReason::Attempts, 3));
    assert_eq!(told.retry_after.unwrap().delay(), 2 * SECOND, "asked for by the first attempt");
    assert!(told.waited >= 2 * SECOND);
}

/// A service of which all clones are one.
#[derive(Debug)]
struct Shared<S>(std::sync::Arc<std::sync::Mutex<S>>);

impl<S> Shared<S> {
    fn of(service: S) -> Self {
        Self(std::sync::Arc::new(std::sync::Mutex::new(service)))
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(std::sync::Arc::clone(&self.0))
    }
}

impl<S: Service<Request<()>>> Service<Request<()>> for Shared<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.0.lock().unwrap().poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> S::Future {
        self.0.lock().unwrap().call(request)
    }
}

/// The time between two attempts, of which the first gets this `Retry-After`; `None` if there is one.
async fn wait_with(what: LongRetryAfter, asked: &str) -> Option<Duration> {
    let arrivals = Arrivals::default();
    let layer = RetryLayer::new()
        .deadline(Duration::from_secs(3_600))
        .max_retry_after(10 * SECOND)
        .long_retry_after(what);
    let service = layer.layer(server(&arrivals, &[response(429, &[("retry-after", asked)]), ok()]));
    service.oneshot(get()).await.unwrap();
    arrivals.gaps().first().copied()
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_maximum_is_given_up_clamped_or_ignored() {
    for asked in ["11", "3600", "1795248000", "99999999999999999999"] {
        assert_eq!(wait_with(LongRetryAfter::GiveUp, asked).await, None, "{asked}");
        let clamped = wait_with(LongRetryAfter::Clamp, asked).await.unwrap();
        assert!((10_000..=11_001).contains(&clamped.as_millis()), "{asked}: {clamped:?}");
        let ignored = wait_with(LongRetryAfter::Ignore, asked).await.unwrap();
        assert!((1_000..=2_001).contains(&ignored.as_millis()), "{asked}: {ignored:?}");
    }
    for what in [LongRetryAfter::Clamp, LongRetryAfter::Ignore] {
        assert_eq!(wait_with(what, "-1").await, None, "no retry at all is not a long wait");
        assert!(wait_with(what, "10").await.unwrap() >= 10 * SECOND);
    }
}
