//! A wrong number is refused when a layer is made; an odd one does no harm.

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

const AGES: Duration = Duration::from_secs(100 * 365 * 86_400);

#[test]
#[should_panic(expected = "limit must be in 1..=1000000")]
fn a_limit_of_nobody_is_refused() {
    let _ = AdmissionLayer::fixed("api", 0);
}

#[test]
#[should_panic(expected = "limit must be in 1..=1000000")]
fn a_limit_beyond_all_use_is_refused() {
    let _ = AdmissionLayer::fixed("api", 1_000_001);
}

#[test]
#[should_panic(expected = "limit must be in 1..=1000000")]
fn a_bulkhead_for_nobody_is_refused() {
    let _ = BulkheadLayer::new("payments", 0);
}

#[test]
#[should_panic(expected = "workers must be in 1..=4096")]
fn an_adaptive_limit_without_workers_is_refused() {
    let _ = AdmissionLayer::with_limit("api", Adaptive::new(0));
}

#[test]
#[should_panic(expected = "must be 503 or 429")]
fn a_refusal_that_claims_success_is_refused() {
    let _ = AdmissionLayer::adaptive("api").status(StatusCode::OK);
}

#[test]
fn a_layer_is_made_anywhere_and_whatever_its_name() {
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

fn bounds() -> Vec<QueueBounds> {
    let lens = [0, 1, usize::MAX];
    let waits =
        [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), AGES, Duration::MAX];
    let bounds = lens.into_iter().flat_map(|max_len| {
        waits.into_iter().map(move |max_wait| QueueBounds::new(max_len, max_wait))
    });
    bounds.collect()
}

fn deadlines() -> Vec<Option<Deadline>> {
    let now = Instant::now();
    let past = [Duration::from_nanos(1), Duration::from_secs(1)];
    let past = past.into_iter().filter_map(|ago| now.checked_sub(ago));
    let future = [Duration::ZERO, Duration::from_millis(1), AGES, 5 * AGES, 50 * AGES];
    let future = future.into_iter().filter_map(|from_now| now.checked_add(from_now));
    past.chain(future).map(|at| Some(Deadline(at))).chain([None]).collect()
}

#[tokio::test(start_paused = true)]
async fn absurd_bounds_and_deadlines_do_no_harm() {
    for bounds in bounds() {
        for deadline in deadlines() {
            let layer = AdmissionLayer::fixed("api", 1).queue(bounds);
            let request = || {
                let mut request = Request::new(());
                deadline.map(|deadline| request.extensions_mut().insert(deadline));
                request
            };
            // With room it runs, unless its deadline has passed: that answer is worth nothing.
            let late = deadline.is_some_and(|Deadline(at)| at <= Instant::now());
            let answer = service(&layer).oneshot(request()).await.expect("infallible");
            let expected = if late { 503 } else { 200 };
            assert_eq!(answer.status(), expected, "{bounds:?} {deadline:?}");
            drop(answer);

            let full = layer.limiter().try_acquire().expect("room for one");
            let waits = tokio::spawn(service(&layer).oneshot(request()));
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(full);
            let answer = timeout(Duration::from_secs(5), waits).await.expect("an answer in time");
            let status = answer.expect("no panic").expect("infallible").status();
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
async fn a_limit_of_one_serves_everybody_in_turn() {
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
            let answer = request.await.expect("no panic").expect("infallible");
            assert_eq!(answer.status(), 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_never_longer_than_its_bound() {
    let layer = AdmissionLayer::fixed("api", 1);
    let layer = layer.queue(QueueBounds::new(5, Duration::from_secs(1)));
    let _full = layer.limiter().try_acquire().expect("room for one");
    let requests: Vec<_> =
        (0..100).map(|_| tokio::spawn(service(&layer).oneshot(Request::new(())))).collect();
    for request in requests {
        assert!(layer.snapshot().queued <= 5, "{:?}", layer.snapshot());
        let answer = request.await.expect("no panic").expect("infallible");
        assert_eq!(answer.status(), 503);
        assert!(layer.snapshot().queued <= 5, "{:?}", layer.snapshot());
    }
    assert_eq!(layer.snapshot().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_changed_while_it_runs_holds_from_then_on() {
    let layer = AdmissionLayer::fixed("api", 4).queue(QueueBounds::NONE);
    let mut held: Vec<_> = (0..4).map(|_| layer.limiter().try_acquire().expect("room")).collect();
    layer.limiter().replace_limit(Fixed::new(2));
    for left in [4, 3, 2] {
        held.truncate(left);
        let answer = service(&layer).oneshot(Request::new(())).await.expect("infallible");
        assert_eq!(answer.status(), 503, "{left} are in");
    }
    held.pop();
    let answer = service(&layer).oneshot(Request::new(())).await.expect("infallible");
    assert_eq!(answer.status(), 200);
}
