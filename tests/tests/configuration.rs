//! Invalid numbers panic when a layer is constructed; extreme valid ones work.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::time::{Instant, timeout};
use tower::util::ServiceFn;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    Adaptive, Admission, AdmissionLayer, BulkheadLayer, Deadline, Fixed, PermitScope, QueueBounds,
};

const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

#[test]
#[should_panic(expected = "limit must be in 1..=1000000")]
fn a_limit_of_zero_panics_at_construction() {
    let _ = AdmissionLayer::fixed("api", 0);
}

#[test]
#[should_panic(expected = "limit must be in 1..=1000000")]
fn a_limit_above_the_maximum_panics_at_construction() {
    let _ = AdmissionLayer::fixed("api", 1_000_001);
}

#[test]
#[should_panic(expected = "limit must be in 1..=1000000")]
fn a_bulkhead_of_zero_panics_at_construction() {
    let _ = BulkheadLayer::new("payments", 0);
}

#[test]
#[should_panic(expected = "workers must be in 1..=4096")]
fn an_adaptive_limit_with_zero_workers_panics_at_construction() {
    let _ = AdmissionLayer::with_limit("api", Adaptive::new(0));
}

#[test]
#[should_panic(expected = "must be 503 or 429")]
fn a_rejection_status_that_is_a_success_panics_at_construction() {
    let _ = AdmissionLayer::adaptive("api").status(StatusCode::OK);
}

#[test]
fn a_layer_can_be_constructed_outside_a_runtime_and_with_any_name() {
    for name in ["", "a name with spaces", "näme\u{0}\n", &"long".repeat(10_000)] {
        let layer = AdmissionLayer::adaptive(name);
        assert!(layer.snapshot().limit >= 1);
        assert_eq!(BulkheadLayer::new(name, 1_000_000).snapshot().limit, 1_000_000);
    }
}

type Handler = fn(Request<()>) -> Ready<Result<Response<String>, Infallible>>;

fn service(layer: &AdmissionLayer) -> Admission<ServiceFn<Handler>> {
    layer.layer(service_fn(|_| ready(Ok(Response::new(String::new())))))
}

fn extreme_bounds() -> Vec<QueueBounds> {
    let lens = [0, 1, usize::MAX];
    let waits =
        [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), CENTURY, Duration::MAX];
    let bounds = lens.into_iter().flat_map(|max_len| {
        waits.into_iter().map(move |max_wait| QueueBounds::new(max_len, max_wait))
    });
    bounds.collect()
}

fn extreme_deadlines() -> Vec<Option<Deadline>> {
    let now = Instant::now();
    let past = [Duration::from_nanos(1), Duration::from_secs(1)];
    let past = past.into_iter().filter_map(|ago| now.checked_sub(ago));
    let future = [Duration::ZERO, Duration::from_millis(1), CENTURY, 5 * CENTURY, 50 * CENTURY];
    let future = future.into_iter().filter_map(|from_now| now.checked_add(from_now));
    past.chain(future).map(|at| Some(Deadline(at))).chain([None]).collect()
}

#[tokio::test(start_paused = true)]
async fn extreme_bounds_and_deadlines_lose_no_request_and_no_permit() {
    for bounds in extreme_bounds() {
        for deadline in extreme_deadlines() {
            let layer = AdmissionLayer::fixed("api", 1).queue(bounds);
            let request = || {
                let mut request = Request::new(());
                deadline.map(|deadline| request.extensions_mut().insert(deadline));
                request
            };
            // With a free permit a request runs, unless its deadline has passed.
            let expired = deadline.is_some_and(|Deadline(at)| at <= Instant::now());
            let response = service(&layer).oneshot(request()).await.expect("infallible");
            let expected = if expired { 503 } else { 200 };
            assert_eq!(response.status(), expected, "{bounds:?} {deadline:?}");
            drop(response);

            let permit = layer.limiter().try_acquire().expect("a free permit");
            let queued = tokio::spawn(service(&layer).oneshot(request()));
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(permit);
            let response = timeout(Duration::from_secs(5), queued)
                .await
                .expect("a response within five seconds");
            let status = response.expect("no panic").expect("infallible").status();
            assert!(matches!(status.as_u16(), 200 | 503), "{bounds:?} {deadline:?}: {status}");
            if bounds.max_len > 0 && bounds.max_wait >= Duration::from_secs(1) && deadline.is_none()
            {
                assert_eq!(status, 200, "{bounds:?}");
            }
            if bounds == QueueBounds::NONE {
                assert_eq!(status, 503, "{deadline:?}");
            }
            assert_eq!((layer.snapshot().in_flight, layer.snapshot().queued), (0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_one_serves_all_queued_requests_in_turn() {
    let bounds = QueueBounds::new(100, Duration::MAX);
    for layer in [AdmissionLayer::fixed("api", 1), AdmissionLayer::with_limit("api", Fixed::new(1))]
    {
        let layer = layer.queue(bounds).scope(PermitScope::Head);
        let service = layer.layer(service_fn(async |_: Request<()>| {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
        let requests: Vec<_> =
            (0..100).map(|_| tokio::spawn(service.clone().oneshot(Request::new(())))).collect();
        for request in requests {
            let response = request.await.expect("no panic").expect("infallible");
            assert_eq!(response.status(), 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_never_longer_than_its_bound() {
    let layer = AdmissionLayer::fixed("api", 1);
    let layer = layer.queue(QueueBounds::new(5, Duration::from_secs(1)));
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let requests: Vec<_> =
        (0..100).map(|_| tokio::spawn(service(&layer).oneshot(Request::new(())))).collect();
    for request in requests {
        assert!(layer.snapshot().queued <= 5, "{:?}", layer.snapshot());
        let response = request.await.expect("no panic").expect("infallible");
        assert_eq!(response.status(), 503);
        assert!(layer.snapshot().queued <= 5, "{:?}", layer.snapshot());
    }
    assert_eq!(layer.snapshot().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_lowered_while_requests_run_applies_to_new_requests() {
    let layer = AdmissionLayer::fixed("api", 4).queue(QueueBounds::NONE);
    let mut permits: Vec<_> =
        (0..4).map(|_| layer.limiter().try_acquire().expect("a free permit")).collect();
    layer.limiter().replace_limit(Fixed::new(2));
    for in_flight in [4, 3, 2] {
        permits.truncate(in_flight);
        let response = service(&layer).oneshot(Request::new(())).await.expect("infallible");
        assert_eq!(response.status(), 503, "{in_flight} in flight");
    }
    permits.pop();
    let response = service(&layer).oneshot(Request::new(())).await.expect("infallible");
    assert_eq!(response.status(), 200);
}
