//! Dry runs and exempt requests: nothing is rejected, and metrics show what would have been.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use backpressure_tests::recorded_metrics::RecordedMetrics;
use backpressure_tests::recording_limit::RecordingLimit;
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

/// Sends `count` requests at once; returns how many were served and how long all of them took.
async fn send_at_once<S, B>(service: S, count: usize, path: &str) -> (usize, Duration)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    let (start, mut requests) = (Instant::now(), tokio::task::JoinSet::new());
    for _ in 0..count {
        requests.spawn(service.clone().oneshot(get(path)));
    }
    let responses = requests.join_all().await;
    let served = responses
        .iter()
        .filter(|response| response.as_ref().is_ok_and(|response| response.status() == 200));
    (served.count(), start.elapsed())
}

fn with_metrics<T>(run: impl AsyncFnOnce() -> T) -> (T, Arc<RecordedMetrics>) {
    let recorded = Arc::new(RecordedMetrics::default());
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    let value = metrics::with_local_recorder(&*recorded, || runtime.block_on(run()));
    (value, recorded)
}

const REQUESTS_TOTAL: &str = "backpressure_requests_total";

#[test]
fn a_dry_run_neither_rejects_nor_queues_and_counts_would_be_rejections() {
    let ((served, took), recorded) = with_metrics(async || {
        let layer = AdmissionLayer::fixed("api", 4).queue(QueueBounds::NONE).dry_run(true);
        let outcome = send_at_once(layer.layer(service_fn(work)), 10, "/").await;
        assert_eq!(layer.snapshot().in_flight, 0);
        outcome
    });
    assert_eq!((served, took), (10, WORK));
    assert_eq!(recorded.counter(&format!("{REQUESTS_TOTAL} api admitted")), 4);
    assert_eq!(recorded.counter(&format!("{REQUESTS_TOTAL} api would_reject limit")), 6);
    assert_eq!(recorded.counter(&format!("{REQUESTS_TOTAL} api shed limit")), 0);
}

#[test]
fn in_a_dry_run_a_request_runs_while_its_ticket_stays_queued() {
    // Two permits, each held for 100 ms, and six requests that would wait at most 50 ms: all six would
    // be rejected.
    let bounds = QueueBounds::new(16, WORK / 2);
    let ((served, took), recorded) = with_metrics(async || {
        let layer = AdmissionLayer::fixed("api", 2).queue(bounds).dry_run(true);
        send_at_once(layer.layer(service_fn(work)), 8, "/").await
    });
    assert_eq!((served, took), (8, WORK));
    assert_eq!(recorded.counter(&format!("{REQUESTS_TOTAL} api admitted")), 2);
    assert_eq!(recorded.counter(&format!("{REQUESTS_TOTAL} api would_reject queue-timeout")), 6);
}

#[test]
fn in_a_dry_run_a_queued_request_takes_its_permit_when_one_is_released() {
    let bounds = QueueBounds::new(16, Duration::from_secs(9));
    let (observed, recorded) = with_metrics(async || {
        let layer = AdmissionLayer::fixed("api", 1).queue(bounds).dry_run(true);
        let permit = layer.limiter().try_acquire().expect("a free permit");
        let service = layer.layer(service_fn(work));
        let request = tokio::spawn(service.oneshot(get("/")));
        sleep(WORK / 2).await;
        assert_eq!(layer.snapshot().queued, 1);
        drop(permit);
        sleep(WORK / 4).await;
        let observed = (layer.snapshot().queued, layer.snapshot().in_flight);
        let response = request.await.expect("no panic").expect("infallible");
        drop(response);
        assert_eq!((layer.snapshot().queued, layer.snapshot().in_flight), (0, 0));
        observed
    });
    assert_eq!(observed, (0, 1));
    assert_eq!(recorded.counter(&format!("{REQUESTS_TOTAL} api admitted")), 1);
}

#[test]
fn bulkheads_and_origin_limits_have_a_dry_run() {
    let (served, recorded) = with_metrics(async || {
        let bulkhead = BulkheadLayer::new("payments", 1).dry_run(true);
        let (bulkhead_served, _) = send_at_once(bulkhead.layer(service_fn(work)), 5, "/").await;
        let origins = OriginLimitLayer::new("search").queue(QueueBounds::NONE).dry_run(true);
        let (origin_served, took) =
            send_at_once(origins.layer(service_fn(work)), 300, "http://search.internal/").await;
        assert_eq!(took, WORK);
        (bulkhead_served, origin_served)
    });
    assert_eq!(served, (5, 300));
    assert_eq!(recorded.counter(&format!("{REQUESTS_TOTAL} payments would_reject limit")), 4);
    assert!(recorded.counter(&format!("{REQUESTS_TOTAL} search would_reject limit")) >= 100);
}

#[test]
fn an_exempt_request_is_never_rejected_takes_no_permit_and_is_not_recorded() {
    let (samples, recorded) = with_metrics(async || {
        let recording = RecordingLimit::new(1);
        let layer = AdmissionLayer::with_limit("api", recording.clone())
            .queue(QueueBounds::NONE)
            .exempt(|head| head.uri.path() == "/healthz");
        let service = layer.layer(service_fn(work));
        let probes: Vec<_> =
            (0..20).map(|_| tokio::spawn(service.clone().oneshot(get("/healthz")))).collect();
        sleep(WORK / 2).await;
        assert_eq!(layer.snapshot().in_flight, 20);
        // The only permit is free; once it is taken, probes are still served.
        let other = service.clone().oneshot(get("/")).await.expect("infallible");
        assert_eq!(other.status(), 200);
        let probe = service.clone().oneshot(get("/healthz")).await.expect("infallible");
        assert_eq!(probe.status(), 200);
        let rejected = service.oneshot(get("/")).await.expect("infallible");
        assert_eq!(rejected.status(), 503);
        for probe in probes {
            assert_eq!(probe.await.expect("no panic").expect("infallible").status(), 200);
        }
        drop((other, probe));
        assert_eq!(layer.snapshot().in_flight, 0);
        recording.take_samples()
    });
    assert_eq!(samples.len(), 1, "{samples:?}");
    assert_eq!(recorded.counter(&format!("{REQUESTS_TOTAL} api exempt")), 21);
    assert_eq!(recorded.counter(&format!("{REQUESTS_TOTAL} api admitted")), 1);
}

#[test]
fn bulkheads_and_origin_limits_have_exemptions() {
    let (served, _) = with_metrics(async || {
        let bulkhead = BulkheadLayer::new("payments", 1).exempt(|head| head.uri.path() == "/probe");
        let (bulkhead_served, _) =
            send_at_once(bulkhead.layer(service_fn(work)), 5, "/probe").await;
        let origins = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
        let origins = origins.exempt(|head| head.uri.path() == "/probe");
        let (origin_served, _) =
            send_at_once(origins.layer(service_fn(work)), 300, "http://search.internal/probe")
                .await;
        (bulkhead_served, origin_served)
    });
    assert_eq!(served, (5, 300));
}
