//! A request whose deadline has passed does no work in any layer, unless an operator exempts it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::server::QuotaKey;
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, BulkheadSet, Deadline, FallbackLayer, Priority, QueueBounds,
    QueueLayer, RequestInfo, SHED_REASON,
};

const SECOND: Duration = Duration::from_secs(1);
const PRIORITIES: [Priority; 4] =
    [Priority::Critical, Priority::Normal, Priority::Sheddable, Priority::Deferrable];

/// What counts calls of the service inside, and its response.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    /// A service that takes a second.
    fn service(
        &self,
    ) -> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + use<> {
        let calls = self.clone();
        service_fn(move |_: Request<()>| {
            calls.0.fetch_add(1, Ordering::Relaxed);
            async {
                sleep(SECOND).await;
                Ok(Response::new("worked".to_owned()))
            }
        })
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn request(deadline: Option<Instant>, priority: Priority) -> Request<()> {
    let mut request = Request::new(());
    let mut info = RequestInfo::default();
    (info.deadline, info.priority) = (deadline, priority);
    request.extensions_mut().insert(info);
    request
}

/// The status and the reason of a response.
async fn send<S, B>(service: S, request: Request<()>) -> (StatusCode, String)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let response = service.oneshot(request).await.expect("infallible");
    let reason = response.headers().get(SHED_REASON).map(|it| it.to_str().expect("text"));
    (response.status(), reason.unwrap_or_default().to_owned())
}

fn one_key(_: &Parts) -> Option<QuotaKey> {
    Some(QuotaKey::new(b"key"))
}

/// Checks that a request that is late does not run, at once, whatever its priority.
async fn assert_rejects<S, B>(name: &str, service: S, calls: &Calls)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
{
    let start = Instant::now();
    for priority in PRIORITIES {
        let late = request(Some(start - SECOND), priority);
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "deadline".to_owned());
        assert_eq!(send(service.clone(), late).await, expected, "{name}");
    }
    let mut late = Request::new(());
    late.extensions_mut().insert(Deadline(start));
    assert_eq!(send(service.clone(), late).await.1, "deadline", "{name}");
    assert_eq!((calls.take(), start.elapsed()), (0, Duration::ZERO), "{name}");
    let in_time = request(Some(start + 10 * SECOND), Priority::Normal);
    assert_eq!(send(service, in_time).await.0, StatusCode::OK, "{name}");
    assert_eq!(calls.take(), 1, "{name}");
}

#[tokio::test(start_paused = true)]
async fn every_layer_rejects_a_request_whose_deadline_has_passed_while_there_is_room() {
    advance(60 * SECOND).await;
    let calls = Calls::default();
    let work = calls.service();
    let set = BulkheadSet::total(10).compartment("part", 5);
    let queue = QueueBounds::new(10, SECOND);
    let exposing = AdmissionLayer::fixed("exposing", 2).expose_permit(true).expose_pressure(true);
    for layer in [
        AdmissionLayer::adaptive("adaptive"),
        AdmissionLayer::from(QueueLayer::new("jobs", 2, 8)),
        AdmissionLayer::from(BulkheadLayer::new("bulkhead", 2)),
        AdmissionLayer::fixed("no queue", 2).queue(QueueBounds::NONE),
        exposing,
        set.layer("part"),
    ] {
        assert_rejects(layer.handle().name(), layer.layer(work.clone()), &calls).await;
        assert_eq!(layer.snapshot().in_flight, 0);
    }
    assert_rejects("by", set.by("part", |_: &Parts| None).layer(work.clone()), &calls).await;
    let keyed = AdmissionLayer::fixed("keyed", 1).per(2, queue, one_key);
    assert_rejects("per", keyed.layer(work.clone()), &calls).await;
    let (outer, inner) = (AdmissionLayer::adaptive("outer"), BulkheadLayer::new("inner", 2));
    let nested = inner.layer(work.clone());
    assert_rejects("outer", outer.layer(nested), &calls).await;
}

#[tokio::test(start_paused = true)]
async fn an_exempt_request_and_one_in_a_dry_run_work_although_their_deadline_has_passed() {
    advance(60 * SECOND).await;
    let calls = Calls::default();
    let late = || request(Some(Instant::now() - SECOND), Priority::Critical);
    for layer in [
        AdmissionLayer::fixed("exempt", 2).exempt(|_| true),
        AdmissionLayer::fixed("dry", 2).dry_run(true),
    ] {
        assert_eq!(send(layer.layer(calls.service()), late()).await.0, StatusCode::OK);
        assert_eq!((calls.take(), layer.snapshot().in_flight), (1, 0));
    }
    let fallback = service_fn(async |_: Request<()>| Ok(Response::new("instead".to_owned())));
    let layer = FallbackLayer::new(AdmissionLayer::fixed("fallback", 2), fallback);
    let response = layer.layer(calls.service()).oneshot(late()).await.expect("infallible");
    assert_eq!((response.status(), calls.take()), (StatusCode::OK, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_the_queue_ends_the_wait_then_whatever_holds_the_request_back() {
    let calls = Calls::default();
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::new(100, 60 * SECOND));
    let service = layer.layer(calls.service());
    for hold_back in [true, false] {
        let start = Instant::now();
        let permit = match hold_back {
            true => layer.limiter().try_acquire().ok(),
            false => {
                layer.handle().pause(30 * SECOND);
                None
            }
        };
        let waiting: Vec<_> = PRIORITIES
            .into_iter()
            .map(|priority| {
                let late = request(Some(start + 3 * SECOND), priority);
                tokio::spawn(send(service.clone(), late))
            })
            .collect();
        for request in waiting {
            let (status, reason) = request.await.expect("no panic");
            assert_eq!((status.as_u16(), &*reason), (503, "deadline"), "{hold_back}");
            assert!(start.elapsed() <= 3 * SECOND + SECOND / 10, "{:?}", start.elapsed());
        }
        assert_eq!((calls.take(), layer.snapshot().queued), (0, 0));
        layer.handle().resume();
        drop(permit);
    }
}
