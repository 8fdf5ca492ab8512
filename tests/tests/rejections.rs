//! A rejection is a response with a reason and a time to come back, for HTTP and gRPC.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use backpressure_tests::client::text;
use backpressure_tests::reasons;
use backpressure_tests::recording_limit::RecordingLimit;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Deadline, Priority, QueueBounds, Reason, Rejected, SHED_REASON,
};

/// The error type of the inner service.
#[derive(Debug, PartialEq)]
struct InnerError;

async fn handle(request: Request<bool>) -> Result<Response<String>, InnerError> {
    if request.into_body() { Ok(Response::new("done".into())) } else { Err(InnerError) }
}

const SHORT_WAIT: Duration = Duration::from_millis(10);
const LONG_WAIT: Duration = Duration::from_secs(3_600);

/// Configures a layer so that, while its only permit is taken, the request is rejected for this reason.
fn reject_for_reason(layer: AdmissionLayer, reason: Reason) -> (AdmissionLayer, Request<bool>) {
    let mut request = Request::new(true);
    let bounds = match reason {
        Reason::Limit => QueueBounds::NONE,
        Reason::QueueTimeout => QueueBounds::new(1, SHORT_WAIT),
        _ => QueueBounds::new(1, LONG_WAIT),
    };
    if reason == Reason::Deadline {
        request.extensions_mut().insert(Deadline(Instant::now()));
    }
    if reason == Reason::Displaced {
        request.extensions_mut().insert(Priority::Sheddable);
    }
    (layer.queue(bounds), request)
}

/// A rejection for this reason of a request with these headers.
async fn rejection(
    layer: AdmissionLayer,
    reason: Reason,
    headers: HeaderMap,
) -> Response<impl Body<Data = bytes::Bytes, Error: std::fmt::Debug>> {
    let (layer, mut request) = reject_for_reason(layer, reason);
    *request.headers_mut() = headers;
    let service = layer.layer(service_fn(handle));
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    if reason == Reason::Stopped {
        layer.limiter().stop();
    }
    let mut other = Request::new(true);
    other.extensions_mut().insert(Priority::Critical);
    let (mut request, mut other) =
        (Box::pin(service.clone().oneshot(request)), Box::pin(service.oneshot(other)));
    let other_is_queued = poll_fn(|cx| Poll::Ready(other.as_mut().poll(cx).is_pending()));
    match reason {
        // The queue is full already.
        Reason::QueueFull => assert!(other_is_queued.await),
        // A request with a higher priority arrives later.
        Reason::Displaced => {
            let request_is_queued =
                poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_pending()));
            assert!(request_is_queued.await && other_is_queued.await);
        }
        _ => {}
    }
    let response = request.await.expect("a rejection is not an error");
    assert_eq!(Rejected::of(&response), Some(Rejected(reason)), "outer layers can tell the reason");
    response
}

fn whole_number(headers: &HeaderMap, name: &str) -> u64 {
    let value = headers[name].to_str().expect("text");
    assert!(value.bytes().all(|digit| digit.is_ascii_digit()), "{name}: {value}");
    value.parse().expect("a number")
}

fn layer() -> AdmissionLayer {
    AdmissionLayer::fixed("api", 1)
}

#[tokio::test(start_paused = true)]
async fn every_rejection_says_when_to_come_back() {
    for reason in reasons::of_limits() {
        let variants = [
            layer(),
            layer().status(StatusCode::TOO_MANY_REQUESTS),
            layer().reveal_reason(false),
            AdmissionLayer::adaptive("self").queue(QueueBounds::NONE),
        ];
        let [plain, too_many, hidden, adaptive] = variants;
        adaptive.limiter().replace_limit(tower_backpressure::Fixed::new(1));
        for (layer, status) in [(plain, 503), (too_many, 429), (hidden, 503), (adaptive, 503)] {
            let response = rejection(layer, reason, HeaderMap::new()).await;
            assert_eq!(response.status(), status);
            assert!(whole_number(response.headers(), "retry-after") >= 1, "{reason}");
            assert!(response.headers().contains_key(SHED_REASON));
        }
        let grpc = HeaderMap::from_iter([(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/grpc"),
        )]);
        let response = rejection(layer(), reason, grpc).await;
        assert_eq!(response.headers()["grpc-status"], "14");
        assert!(whole_number(response.headers(), "grpc-retry-pushback-ms") >= 1, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_rejection_is_problem_json_and_is_not_cached() {
    for reason in reasons::of_limits() {
        let response = rejection(layer(), reason, HeaderMap::new()).await;
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-shed-reason"], reason.as_str());
        let problem: serde_json::Value =
            serde_json::from_str(&text(response).await).expect("valid JSON");
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["title"], "Service Unavailable");
        assert_eq!(problem["reason"], reason.as_str());
        assert!(problem["type"].as_str().is_some_and(|kind| kind.starts_with("https://")));
        assert!(problem["detail"].is_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_hidden_reason_appears_nowhere_in_a_rejection() {
    for reason in reasons::of_limits() {
        let response = rejection(layer().reveal_reason(false), reason, HeaderMap::new()).await;
        assert_eq!(response.headers()["x-shed-reason"], "refused");
        let head = format!("{:?}", response.headers());
        let body = text(response).await;
        let problem: serde_json::Value = serde_json::from_str(&body).expect("valid JSON");
        assert!(problem.get("reason").is_none(), "{body}");
        assert!(!head.contains(reason.as_str()), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn rejected_requests_are_told_different_seconds_to_come_back() {
    let layer = AdmissionLayer::with_limit("api", RecordingLimit::new(1)).queue(QueueBounds::NONE);
    let service = layer.layer(service_fn(async |request| {
        tokio::time::sleep(Duration::from_millis(100)).await;
        handle(request).await
    }));
    // The layer measures ten requests a second.
    for _ in 0..50 {
        service.clone().oneshot(Request::new(true)).await.expect("admitted");
    }
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let mut seconds = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let response = service.clone().oneshot(Request::new(true)).await.expect("a rejection");
        seconds.insert(whole_number(response.headers(), "retry-after"));
    }
    assert!(seconds.len() >= 5, "{seconds:?}");
    assert!(seconds.iter().all(|wait| (1..=60).contains(wait)), "{seconds:?}");
}

/// Compiles only if the layer keeps the error type of the service.
fn with_same_error<L, S>(layer: &L, service: S) -> L::Service
where
    L: Layer<S>,
    L::Service: Service<Request<bool>, Error = S::Error>,
    S: Service<Request<bool>>,
{
    layer.layer(service)
}

#[tokio::test]
async fn a_rejection_is_a_response_and_the_error_type_is_unchanged() {
    let layer = layer().queue(QueueBounds::NONE);
    let service = with_same_error(&layer, service_fn(handle));
    let bulkhead = BulkheadLayer::new("part", 1);
    let behind_bulkhead = with_same_error(&bulkhead, service_fn(handle));
    let error = service.clone().oneshot(Request::new(false)).await.expect_err("the inner error");
    assert_eq!(error, InnerError);
    let error =
        behind_bulkhead.clone().oneshot(Request::new(false)).await.expect_err("the inner error");
    assert_eq!(error, InnerError);

    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let rejection = service.oneshot(Request::new(false)).await.expect("a response");
    assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// When a hundred requests that are rejected at once return if they obey `Retry-After`, in milliseconds.
async fn return_times(layer: AdmissionLayer) -> Vec<u128> {
    let layer = layer.queue(QueueBounds::NONE);
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let (service, start) = (layer.layer(service_fn(handle)), Instant::now());
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let request = service.clone().oneshot(Request::new(true));
        requests.spawn(async move {
            let response = request.await.expect("a rejection is not an error");
            let retry_after = Duration::from_secs(whole_number(response.headers(), "retry-after"));
            (start.elapsed() + retry_after).as_millis()
        });
    }
    requests.join_all().await
}

/// Largest number of returns within a tenth of a second.
fn max_per_tenth_of_a_second(returns: &[u128]) -> usize {
    let tenths = |at: &u128| at / 100;
    let count = |tenth| returns.iter().filter(|at| tenths(at) == tenth).count();
    returns.iter().map(tenths).map(count).max().expect("some returns")
}

#[tokio::test(start_paused = true)]
async fn delayed_rejections_spread_the_return_of_obedient_clients() {
    let (rounded, delayed) =
        (return_times(layer()).await, return_times(layer().delay_rejections(100)).await);
    assert!(max_per_tenth_of_a_second(&rounded) >= 20, "{rounded:?}");
    assert!(max_per_tenth_of_a_second(&delayed) <= 4, "{delayed:?}");
    assert!(delayed.iter().all(|at| (1_000..=5_000).contains(at)), "{delayed:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_rejections_are_delayed_than_configured() {
    let times = return_times(layer().delay_rejections(10)).await;
    let undelayed = times.iter().filter(|&at| at % 1_000 == 0).count();
    assert_eq!(undelayed, 90, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_delayed_rejection_makes_room_for_another() {
    let layer = layer().queue(QueueBounds::NONE).delay_rejections(1);
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let service = layer.layer(service_fn(handle));
    for _ in 0..3 {
        let mut request = Box::pin(service.clone().oneshot(Request::new(true)));
        let is_delayed = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_pending()));
        assert!(is_delayed.await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_deadline_has_passed_is_rejected_even_with_a_free_permit() {
    let work = || {
        service_fn(async |_: Request<()>| {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok::<_, InnerError>(Response::new(String::new()))
        })
    };
    tokio::time::advance(Duration::from_secs(5)).await;
    for layer in [AdmissionLayer::fixed("api", 10), AdmissionLayer::adaptive("self")] {
        for (late_by, served) in [(-1_000_i64, true), (0, false), (1, false), (1_000, false)] {
            let (start, lateness) = (Instant::now(), Duration::from_millis(late_by.unsigned_abs()));
            let deadline = if late_by < 0 { start + lateness } else { start - lateness };
            let mut request = Request::new(());
            request.extensions_mut().insert(Deadline(deadline));
            let response = layer.layer(work()).oneshot(request).await.expect("no error");
            assert_eq!(response.status() == StatusCode::OK, served, "late by {late_by} ms");
            if !served {
                assert_eq!(response.headers()[SHED_REASON], "deadline");
                assert_eq!(start.elapsed(), Duration::ZERO, "at once");
            }
        }
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}
