//! A refusal is a response that says when to come back, whoever asks.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use backpressure_tests::client::text;
use backpressure_tests::samples::Notebook;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Deadline, Priority, QueueBounds, Reason, SHED_REASON, Shed,
};

/// An error of the service's own, like no other.
#[derive(Debug, PartialEq)]
struct Own;

async fn handle(request: Request<bool>) -> Result<Response<String>, Own> {
    if request.into_body() { Ok(Response::new("done".into())) } else { Err(Own) }
}

fn bounds(max_len: usize, wait: Duration) -> QueueBounds {
    QueueBounds::new(max_len, wait)
}

const SOON: Duration = Duration::from_millis(10);
const LATE: Duration = Duration::from_secs(3_600);

/// A layer that is full, and the request to it that will be turned away for this reason.
fn scene(layer: AdmissionLayer, reason: Reason) -> (AdmissionLayer, Request<bool>) {
    let mut request = Request::new(true);
    let bounds = match reason {
        Reason::Limit => QueueBounds::NONE,
        Reason::QueueTimeout => bounds(1, SOON),
        _ => bounds(1, LATE),
    };
    if reason == Reason::Deadline {
        request.extensions_mut().insert(Deadline(Instant::now()));
    }
    if reason == Reason::Displaced {
        request.extensions_mut().insert(Priority::Sheddable);
    }
    (layer.queue(bounds), request)
}

/// Has a full layer turn a request away for this reason.
async fn refuse(
    layer: AdmissionLayer,
    reason: Reason,
    headers: HeaderMap,
) -> Response<impl Body<Data = bytes::Bytes, Error: std::fmt::Debug>> {
    let (layer, mut request) = scene(layer, reason);
    *request.headers_mut() = headers;
    let service = layer.layer(service_fn(handle));
    let _full = layer.limiter().try_acquire().expect("room for one");
    let mut other = Request::new(true);
    other.extensions_mut().insert(Priority::Critical);
    let (mut asks, mut other) =
        (Box::pin(service.clone().oneshot(request)), Box::pin(service.oneshot(other)));
    let waits = poll_fn(|cx| Poll::Ready(other.as_mut().poll(cx).is_pending()));
    match reason {
        // Somebody waits already.
        Reason::QueueFull => assert!(waits.await),
        // Somebody comes later who matters more.
        Reason::Displaced => {
            let asked = poll_fn(|cx| Poll::Ready(asks.as_mut().poll(cx).is_pending()));
            assert!(asked.await && waits.await);
        }
        _ => {}
    }
    let answer = asks.await.expect("a refusal is no error");
    let shed = answer.extensions().get::<Shed>().expect("a mark for layers further out");
    assert_eq!(shed.reason, reason);
    answer
}

fn whole(headers: &HeaderMap, name: &str) -> u64 {
    let value = headers[name].to_str().expect("text");
    assert!(value.bytes().all(|digit| digit.is_ascii_digit()), "{name}: {value}");
    value.parse().expect("a number")
}

fn layer() -> AdmissionLayer {
    AdmissionLayer::fixed("api", 1)
}

#[tokio::test(start_paused = true)]
async fn every_refusal_says_when_to_come_back() {
    for &reason in Reason::ALL {
        let variants = [
            layer(),
            layer().status(StatusCode::TOO_MANY_REQUESTS),
            layer().reveal_reason(false),
            AdmissionLayer::adaptive("self").queue(QueueBounds::NONE),
        ];
        let [plain, too_many, hidden, adaptive] = variants;
        adaptive.limiter().replace_limit(tower_backpressure::Fixed::new(1));
        for (layer, status) in [(plain, 503), (too_many, 429), (hidden, 503), (adaptive, 503)] {
            let answer = refuse(layer, reason, HeaderMap::new()).await;
            assert_eq!(answer.status(), status);
            assert!(whole(answer.headers(), "retry-after") >= 1, "{reason}");
            assert!(answer.headers().contains_key(SHED_REASON));
        }
        let grpc = HeaderMap::from_iter([(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/grpc"),
        )]);
        let answer = refuse(layer(), reason, grpc).await;
        assert_eq!(answer.headers()["grpc-status"], "14");
        assert!(whole(answer.headers(), "grpc-retry-pushback-ms") >= 1, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_problem_that_parses_and_is_never_cached() {
    for &reason in Reason::ALL {
        let answer = refuse(layer(), reason, HeaderMap::new()).await;
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.headers()["x-shed-reason"], reason.as_str());
        let problem: serde_json::Value =
            serde_json::from_str(&text(answer).await).expect("valid JSON");
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["title"], "Service Unavailable");
        assert_eq!(problem["reason"], reason.as_str());
        assert!(problem["type"].as_str().is_some_and(|kind| kind.starts_with("https://")));
        assert!(problem["detail"].is_string());
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_a_stranger_is_not_told_why() {
    for &reason in Reason::ALL {
        let answer = refuse(layer().reveal_reason(false), reason, HeaderMap::new()).await;
        assert_eq!(answer.headers()["x-shed-reason"], "refused");
        let head = format!("{:?}", answer.headers());
        let body = text(answer).await;
        let problem: serde_json::Value = serde_json::from_str(&body).expect("valid JSON");
        assert!(problem.get("reason").is_none(), "{body}");
        assert!(!head.contains(reason.as_str()), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_refused_are_not_all_told_to_come_back_in_the_same_second() {
    let layer = AdmissionLayer::with_limit("api", Notebook::new(1)).queue(QueueBounds::NONE);
    let service = layer.layer(service_fn(async |request| {
        tokio::time::sleep(Duration::from_millis(100)).await;
        handle(request).await
    }));
    // A service that has learned that it does ten a second.
    for _ in 0..50 {
        service.clone().oneshot(Request::new(true)).await.expect("admitted");
    }
    let _full = layer.limiter().try_acquire().expect("room for one");
    let mut seconds = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let answer = service.clone().oneshot(Request::new(true)).await.expect("a refusal");
        seconds.insert(whole(answer.headers(), "retry-after"));
    }
    assert!(seconds.len() >= 5, "{seconds:?}");
    assert!(seconds.iter().all(|wait| (1..=60).contains(wait)), "{seconds:?}");
}

/// Compiles only if the error type of the service stays.
fn error_stays<L, S>(layer: &L, service: S) -> L::Service
where
    L: Layer<S>,
    L::Service: Service<Request<bool>, Error = S::Error>,
    S: Service<Request<bool>>,
{
    layer.layer(service)
}

#[tokio::test]
async fn a_refusal_is_a_response_and_the_error_type_stays() {
    let layer = layer().queue(QueueBounds::NONE);
    let service = error_stays(&layer, service_fn(handle));
    let bulkhead = BulkheadLayer::new("part", 1);
    let compartment = error_stays(&bulkhead, service_fn(handle));
    let error = service.clone().oneshot(Request::new(false)).await.expect_err("its own error");
    assert_eq!(error, Own);
    let error = compartment.clone().oneshot(Request::new(false)).await.expect_err("its own error");
    assert_eq!(error, Own);

    let _full = layer.limiter().try_acquire().expect("room for one");
    let refusal = service.oneshot(Request::new(false)).await.expect("a response");
    assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// When a crowd is back that is refused in one moment and obeys to the letter, in milliseconds.
async fn returns(layer: AdmissionLayer) -> Vec<u128> {
    let layer = layer.queue(QueueBounds::NONE);
    let _full = layer.limiter().try_acquire().expect("room for one");
    let (service, start) = (layer.layer(service_fn(handle)), Instant::now());
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let asks = service.clone().oneshot(Request::new(true));
        crowd.spawn(async move {
            let answer = asks.await.expect("a refusal is no error");
            let told = Duration::from_secs(whole(answer.headers(), "retry-after"));
            (start.elapsed() + told).as_millis()
        });
    }
    crowd.join_all().await
}

/// Most of them within a tenth of a second.
fn thickest(returns: &[u128]) -> usize {
    let tenths = |at: &u128| at / 100;
    let count = |tenth| returns.iter().filter(|at| tenths(at) == tenth).count();
    returns.iter().map(tenths).map(count).max().expect("a crowd")
}

#[tokio::test(start_paused = true)]
async fn held_refusals_bring_back_one_by_one_who_obeys_to_the_letter() {
    let (rounded, held) = (returns(layer()).await, returns(layer().delay_rejections(100)).await);
    assert!(thickest(&rounded) >= 20, "{rounded:?}");
    assert!(thickest(&held) <= 4, "{held:?}");
    assert!(held.iter().all(|at| (1_000..=5_000).contains(at)), "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_refusals_are_held_than_may_be() {
    let some = returns(layer().delay_rejections(10)).await;
    let whole = some.iter().filter(|&at| at % 1_000 == 0).count();
    assert_eq!(whole, 90, "{some:?}");
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_while_it_is_held_leaves_its_place_to_another() {
    let layer = layer().queue(QueueBounds::NONE).delay_rejections(1);
    let _full = layer.limiter().try_acquire().expect("room for one");
    let service = layer.layer(service_fn(handle));
    for _ in 0..3 {
        let mut asks = Box::pin(service.clone().oneshot(Request::new(true)));
        let held = poll_fn(|cx| Poll::Ready(asks.as_mut().poll(cx).is_pending()));
        assert!(held.await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_refused_at_once_even_where_there_is_room() {
    let work = || {
        service_fn(async |_: Request<()>| {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok::<_, Own>(Response::new(String::new()))
        })
    };
    tokio::time::advance(Duration::from_secs(5)).await;
    for layer in [AdmissionLayer::fixed("api", 10), AdmissionLayer::adaptive("self")] {
        for (late_by, served) in [(-1_000_i64, true), (0, false), (1, false), (1_000, false)] {
            let (start, late) = (Instant::now(), Duration::from_millis(late_by.unsigned_abs()));
            let deadline = if late_by < 0 { start + late } else { start - late };
            let mut request = Request::new(());
            request.extensions_mut().insert(Deadline(deadline));
            let answer = layer.layer(work()).oneshot(request).await.expect("no error");
            assert_eq!(answer.status() == StatusCode::OK, served, "late by {late_by} ms");
            if !served {
                assert_eq!(answer.headers()[SHED_REASON], "deadline");
                assert_eq!(start.elapsed(), Duration::ZERO, "at once");
            }
        }
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}
