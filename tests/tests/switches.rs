//! What an operator switches off is off, and still counted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use backpressure_tests::meters::Meters;
use backpressure_tests::samples::Notebook;
use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, OriginLimitLayer, QueueBounds};

const WORK: Duration = Duration::from_millis(100);

async fn work(_: Request<()>) -> Result<Response<String>, Infallible> {
    sleep(WORK).await;
    Ok(Response::new("done".into()))
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).expect("a request")
}

/// Sends so many at once; how many were served, and how long all of them took.
async fn crowd<S, B>(service: S, count: usize, path: &str) -> (usize, Duration)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    let (start, mut requests) = (Instant::now(), tokio::task::JoinSet::new());
    for _ in 0..count {
        requests.spawn(service.clone().oneshot(get(path)));
    }
    let answers = requests.join_all().await;
    let served = answers.iter().filter(|answer| answer.as_ref().is_ok_and(|it| it.status() == 200));
    (served.count(), start.elapsed())
}

fn recorded<T>(run: impl AsyncFnOnce() -> T) -> (T, Arc<Meters>) {
    let meters = Arc::new(Meters::default());
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    let value = metrics::with_local_recorder(&*meters, || runtime.block_on(run()));
    (value, meters)
}

const REQUESTS: &str = "backpressure_requests_total";

#[test]
fn a_dry_run_refuses_nothing_waits_for_nothing_and_counts_what_it_would_have_refused() {
    let ((served, took), meters) = recorded(async || {
        let layer = AdmissionLayer::fixed("api", 4).queue(QueueBounds::NONE).dry_run(true);
        let outcome = crowd(layer.layer(service_fn(work)), 10, "/").await;
        assert_eq!(layer.snapshot().in_flight, 0);
        outcome
    });
    assert_eq!((served, took), (10, WORK));
    assert_eq!(meters.counter(&format!("{REQUESTS} api admitted")), 4);
    assert_eq!(meters.counter(&format!("{REQUESTS} api would_reject limit")), 6);
    assert_eq!(meters.counter(&format!("{REQUESTS} api shed limit")), 0);
}

#[test]
fn in_a_dry_run_a_place_in_the_queue_waits_while_its_request_runs() {
    // Two places, each held for 100 ms, and six that would wait up to 50 ms: all six in vain.
    let bounds = QueueBounds::new(16, WORK / 2);
    let ((served, took), meters) = recorded(async || {
        let layer = AdmissionLayer::fixed("api", 2).queue(bounds).dry_run(true);
        crowd(layer.layer(service_fn(work)), 8, "/").await
    });
    assert_eq!((served, took), (8, WORK));
    assert_eq!(meters.counter(&format!("{REQUESTS} api admitted")), 2);
    assert_eq!(meters.counter(&format!("{REQUESTS} api would_reject queue-timeout")), 6);
}

#[test]
fn in_a_dry_run_a_request_that_would_have_been_let_in_takes_its_place_late() {
    let bounds = QueueBounds::new(16, Duration::from_secs(9));
    let (most, meters) = recorded(async || {
        let layer = AdmissionLayer::fixed("api", 1).queue(bounds).dry_run(true);
        let full = layer.limiter().try_acquire().expect("room for one");
        let service = layer.layer(service_fn(work));
        let request = tokio::spawn(service.oneshot(get("/")));
        sleep(WORK / 2).await;
        assert_eq!(layer.snapshot().queued, 1);
        drop(full);
        sleep(WORK / 4).await;
        let most = (layer.snapshot().queued, layer.snapshot().in_flight);
        let answer = request.await.expect("no panic").expect("infallible");
        drop(answer);
        assert_eq!((layer.snapshot().queued, layer.snapshot().in_flight), (0, 0));
        most
    });
    assert_eq!(most, (0, 1));
    assert_eq!(meters.counter(&format!("{REQUESTS} api admitted")), 1);
}

#[test]
fn a_bulkhead_and_a_client_run_dry_as_well() {
    let (served, meters) = recorded(async || {
        let bulkhead = BulkheadLayer::new("payments", 1).dry_run(true);
        let (inside, _) = crowd(bulkhead.layer(service_fn(work)), 5, "/").await;
        let origins = OriginLimitLayer::new("search").queue(QueueBounds::NONE).dry_run(true);
        let (outside, took) =
            crowd(origins.layer(service_fn(work)), 300, "http://search.internal/").await;
        assert_eq!(took, WORK);
        (inside, outside)
    });
    assert_eq!(served, (5, 300));
    assert_eq!(meters.counter(&format!("{REQUESTS} payments would_reject limit")), 4);
    assert!(meters.counter(&format!("{REQUESTS} search would_reject limit")) >= 100);
}

#[test]
fn an_exempt_request_is_never_refused_takes_no_place_and_teaches_nothing() {
    let (samples, meters) = recorded(async || {
        let notebook = Notebook::new(1);
        let layer = AdmissionLayer::with_limit("api", notebook.clone())
            .queue(QueueBounds::NONE)
            .exempt(|head| head.uri.path() == "/healthz");
        let service = layer.layer(service_fn(work));
        let probes: Vec<_> =
            (0..20).map(|_| tokio::spawn(service.clone().oneshot(get("/healthz")))).collect();
        sleep(WORK / 2).await;
        assert_eq!(layer.snapshot().in_flight, 20);
        // The only place is free, and once it is taken probes are served all the same.
        let other = service.clone().oneshot(get("/")).await.expect("infallible");
        assert_eq!(other.status(), 200);
        let probe = service.clone().oneshot(get("/healthz")).await.expect("infallible");
        assert_eq!(probe.status(), 200);
        let refused = service.oneshot(get("/")).await.expect("infallible");
        assert_eq!(refused.status(), 503);
        for probe in probes {
            assert_eq!(probe.await.expect("no panic").expect("infallible").status(), 200);
        }
        drop((other, probe));
        assert_eq!(layer.snapshot().in_flight, 0);
        notebook.read()
    });
    assert_eq!(samples.len(), 1, "{samples:?}");
    assert_eq!(meters.counter(&format!("{REQUESTS} api exempt")), 21);
    assert_eq!(meters.counter(&format!("{REQUESTS} api admitted")), 1);
}

#[test]
fn a_bulkhead_and_a_client_exempt_as_well() {
    let (served, _) = recorded(async || {
        let bulkhead = BulkheadLayer::new("payments", 1).exempt(|head| head.uri.path() == "/probe");
        let (inside, _) = crowd(bulkhead.layer(service_fn(work)), 5, "/probe").await;
        let origins = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
        let origins = origins.exempt(|head| head.uri.path() == "/probe");
        let (outside, _) =
            crowd(origins.layer(service_fn(work)), 300, "http://search.internal/probe").await;
        (inside, outside)
    });
    assert_eq!(served, (5, 300));
}
