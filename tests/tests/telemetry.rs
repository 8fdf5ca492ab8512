//! What operators see of waits, cancellations, pressure and limits, in metrics, spans and observers.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backpressure_tests::recorded_metrics::RecordedMetrics;
use backpressure_tests::scripted_body::{End, ScriptedBody};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    Adaptive, AdmissionLayer, BulkheadLayer, Event, QueueBounds, StreamPolicy,
};
use tracing::field::{Field, Visit};
use tracing::instrument::Instrument;
use tracing::span;
use tracing::subscriber::Subscriber;

const SECOND: Duration = Duration::from_secs(1);

async fn respond(_: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    sleep(SECOND / 10).await;
    Ok(Response::new(ScriptedBody::pieces(1, 10)))
}

#[tokio::test(start_paused = true)]
async fn every_metric_is_described_and_named_as_prometheus_asks() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let service = AdmissionLayer::adaptive("api").layer(service_fn(respond));
    service.oneshot(Request::new(())).await.expect("infallible");
    let names = recorded.names();
    assert!(names.len() >= 14, "{names:?}");
    for name in &names {
        let text = recorded.description(name).unwrap_or_default();
        assert!(text.ends_with('.'), "{name}: {text}");
        let is_counter = recorded.counter_names().contains(name);
        assert_eq!(name.ends_with("_total"), is_counter, "{name}");
        let table = include_str!("../../docs/metrics.md");
        assert!(table.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_cancelled_are_counted_where_they_were() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let layer = AdmissionLayer::fixed("api", 1);
    let hangs = layer.layer(service_fn(|_: Request<()>| {
        pending::<Result<Response<ScriptedBody>, Infallible>>()
    }));
    let running = tokio::spawn(hangs.clone().oneshot(Request::new(())));
    tokio::task::yield_now().await;
    let queued = tokio::spawn(hangs.oneshot(Request::new(())));
    sleep(SECOND / 4).await;
    queued.abort();
    assert!(queued.await.is_err());
    running.abort();
    assert!(running.await.is_err());
    let served = layer.layer(service_fn(respond));
    served.oneshot(Request::new(())).await.expect("infallible").collect().await.expect("whole");
    for stage in ["queue", "service"] {
        assert_eq!(
            recorded.counter(&format!("backpressure_cancelled_total api {stage}")),
            1,
            "{stage}"
        );
    }
    let waited = recorded.histogram("backpressure_queue_wait_seconds api cancelled");
    assert_eq!(waited, [0.25]);
    assert_eq!(recorded.gauge("backpressure_in_flight api"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn gauges_show_bounds_and_pressure_and_counters_the_causes_of_changes() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let layer =
        AdmissionLayer::with_limit("api", Adaptive::new(1)).min(2).max(50).queue(QueueBounds::NONE);
    let service = layer.layer(service_fn(respond));
    let send = async || service.clone().oneshot(Request::new(())).await.expect("infallible");
    drop(send().await);
    layer.handle().pin(4);
    let _permits: Vec<_> = (0..4).map(|_| layer.limiter().try_acquire()).collect();
    assert_eq!(send().await.status(), 503);
    let gauge = |name: &str| recorded.gauge(&format!("backpressure_{name} api"));
    assert_eq!((gauge("limit_min"), gauge("limit_max"), gauge("limit")), (4.0, 4.0, 4.0));
    assert_eq!(gauge("pressure"), 1.0);
    assert_eq!(recorded.counter("backpressure_limit_changes_total api operator"), 1, "the pin");
    let told = recorded.histogram("backpressure_retry_after_seconds api");
    assert!(told.len() == 1 && told[0] > 0.0, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_time_of_permits_is_recorded_for_one_request_in_sixteen() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let service = AdmissionLayer::fixed("api", 4).layer(service_fn(respond));
    for _ in 0..160 {
        let response = service.clone().oneshot(Request::new(())).await.expect("infallible");
        advance(SECOND / 10).await;
        drop(response);
    }
    let times = recorded.histogram("backpressure_permit_seconds api");
    assert_eq!(times.len(), 10);
    assert!(times.iter().all(|time| (0.2..0.21).contains(time)), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn open_streams_and_removed_marks_are_counted() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let bulkhead = BulkheadLayer::new("inner", 1);
    let events = service_fn(async |_: Request<()>| {
        let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
        let body = ScriptedBody::pieces(1, 10).end(End::Hangs);
        Ok::<_, Infallible>(response.body(body).expect("a response"))
    });
    let outer = AdmissionLayer::fixed("outer", 4).streams(StreamPolicy::Watch(8));
    let service = outer.layer(bulkhead.layer(events));
    let stream = service.clone().oneshot(Request::new(())).await.expect("infallible");
    assert_eq!(recorded.gauge("backpressure_streams outer"), 1.0);
    assert_eq!(service.oneshot(Request::new(())).await.expect("infallible").status(), 503);
    assert_eq!(recorded.counter("backpressure_marks_removed_total outer"), 1);
    assert_eq!(recorded.counter("backpressure_marks_removed_total inner"), 0);
    drop(stream);
    assert_eq!(recorded.gauge("backpressure_streams outer"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_each_decision() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let layer = AdmissionLayer::fixed("api", 1)
        .queue(QueueBounds::new(1, SECOND))
        .exempt(|head| head.uri.path() == "/healthz")
        .observer(move |policy: &str, event: Event| {
            log.lock().expect("no panic").push(format!("{policy} {}", event.as_str()));
        });
    let service = layer.layer(service_fn(respond));
    let send = || tokio::spawn(service.clone().oneshot(Request::new(())));
    let (running, queued) = (send(), send());
    tokio::task::yield_now().await;
    let (rejected, health) = (send(), Request::get("/healthz").body(()).expect("a request"));
    assert_eq!(rejected.await.expect("no panic").expect("infallible").status(), 503);
    service.clone().oneshot(health).await.expect("infallible");
    queued.abort();
    let _ = queued.await;
    drop(running.await);
    layer.handle().set_dry_run(true);
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let layer = layer.queue(QueueBounds::NONE);
    layer.layer(service_fn(respond)).oneshot(Request::new(())).await.expect("infallible");
    let seen = seen.lock().expect("no panic");
    assert_eq!(
        *seen,
        ["admitted", "shed", "exempt", "cancelled", "would_reject"].map(|it| format!("api {it}")),
        "{seen:?}"
    );
}

/// Keeps the fields that spans declare and get recorded.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl Subscriber for Spans {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 = format!("{}={value:?}", field.name());
            }
        }
        let mut line = Line(String::new());
        values.record(&mut line);
        self.0.lock().expect("no panic").push(line.0);
    }

    fn current_span(&self) -> tracing_core::span::Current {
        let metadata = SPAN.get().copied();
        metadata.map_or_else(tracing_core::span::Current::none, |it| {
            tracing_core::span::Current::new(span::Id::from_u64(1), it)
        })
    }

    fn event(&self, _: &tracing::Event<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

static SPAN: std::sync::OnceLock<&'static tracing::Metadata<'static>> = std::sync::OnceLock::new();

#[tokio::test(start_paused = true)]
async fn the_span_of_a_request_has_the_decision_and_the_time_in_the_queue() {
    let spans = Spans::default();
    let _here = tracing::subscriber::set_default(spans.clone());
    let span = tracing::info_span!(
        "request",
        backpressure.decision = tracing::field::Empty,
        backpressure.queue_wait_ms = tracing::field::Empty
    );
    let _ = SPAN.set(span.metadata().expect("enabled"));
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::new(1, SECOND));
    let service = layer.layer(service_fn(respond));
    let send = || service.clone().oneshot(Request::new(())).instrument(span.clone());
    let (first, queued) = (send(), send());
    let (first, queued) = tokio::join!(async { drop(first.await) }, async { drop(queued.await) });
    let ((), ()) = (first, queued);
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    drop(send().await);
    let recorded = spans.0.lock().expect("no panic").join(" ");
    let expected = [
        "backpressure.decision=\"admitted\" backpressure.queue_wait_ms=0.0",
        "backpressure.decision=\"admitted\" backpressure.queue_wait_ms=10",
        "backpressure.decision=\"shed\" backpressure.queue_wait_ms=100",
    ];
    assert!(expected.iter().all(|part| recorded.contains(part)), "{recorded}");
}
