//! The instruments of OpenTelemetry agree with the metrics, and the spans of requests say what was decided.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use backpressure_tests::recorded_metrics::RecordedMetrics;
use backpressure_tests::scripted_body::ScriptedBody;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{FutureExt, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::observe::OpenTelemetry;
use tower_backpressure::{
    AdmissionLayer, BreakerLayer, BulkheadLayer, CooldownLayer, QueueBounds, RetryLayer,
};

const SECOND: Duration = Duration::from_secs(1);

async fn respond(request: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    if request.uri() == "/hangs" {
        pending::<()>().await;
    }
    sleep(SECOND / 10).await;
    Ok(Response::new(ScriptedBody::pieces(1, 10)))
}

fn request(path: &str) -> Request<()> {
    Request::builder().uri(path).body(()).expect("a request")
}

/// All values by the name of their instrument and its attributes; of a histogram, the number and the sum.
#[derive(Debug, Default)]
struct Exported {
    sums: BTreeMap<String, u64>,
    gauges: BTreeMap<String, f64>,
    histograms: BTreeMap<String, (u64, f64)>,
}

struct Pipeline {
    exporter: InMemoryMetricExporter,
    provider: SdkMeterProvider,
    telemetry: OpenTelemetry,
}

impl Pipeline {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
        let telemetry = OpenTelemetry::new(&provider.meter("test"));
        Self { exporter, provider, telemetry }
    }

    fn collect(&self) -> Exported {
        self.exporter.reset();
        self.provider.force_flush().expect("an exporter in memory");
        let mut exported = Exported::default();
        for resource in self.exporter.get_finished_metrics().expect("not poisoned") {
            for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
                exported.add(metric.name(), metric.data());
            }
        }
        exported
    }
}

impl Exported {
    fn add(&mut self, name: &str, data: &AggregatedMetrics) {
        match data {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                let points = sum.data_points();
                self.sums.extend(points.map(|it| (series(name, it.attributes()), it.value())));
                self.sums.retain(|_, &mut value| value > 0);
            }
            AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                let points = gauge.data_points();
                self.gauges.extend(points.map(|it| (series(name, it.attributes()), it.value())));
            }
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                let points = histogram.data_points();
                let values =
                    points.map(|it| (series(name, it.attributes()), (it.count(), it.sum())));
                self.histograms.extend(values);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

impl Exported {
    /// Asserts that each counter of a policy has the value of its metric; how many there are.
    fn count_like(&self, recorded: &RecordedMetrics, policy: &str) -> usize {
        let mut count = 0;
        for (series, value) in &self.sums {
            let (name, labels) = series.split_once(' ').expect("a policy");
            // Other tests of this process have other policies.
            if labels.split(' ').next() == Some(policy) {
                let metric = format!("{}_total {labels}", name.replace('.', "_"));
                assert_eq!(recorded.counter(&metric), *value, "{metric}");
                count += 1;
            }
        }
        count
    }
}

/// As `RecordedMetrics` writes it.
fn series<'a>(name: &str, attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let by_key: BTreeMap<_, _> =
        attributes.map(|it| (it.key.as_str(), it.value.as_str())).collect();
    let order = ["policy", "result", "stage", "reason", "kind", "outcome", "cause", "to"];
    let values = order.iter().filter_map(|key| by_key.get(key)).filter(|it| !it.is_empty());
    values.fold(name.to_owned(), |name, value| format!("{name} {value}"))
}

/// Admits, queues, rejects and cancels some requests.
async fn drive(layer: AdmissionLayer) {
    let service = layer.layer(service_fn(respond));
    let send = |path| tokio::spawn(service.clone().oneshot(request(path)));
    for _ in 0..3 {
        let burst: Vec<_> = (0..5).map(|_| send("/")).collect();
        for sent in burst {
            let response = sent.await.expect("no panic").expect("infallible");
            drop(response.into_body().collect().await);
        }
    }
    let (running, queued) = (send("/hangs"), send("/"));
    sleep(SECOND / 100).await;
    for cancelled in [queued, running] {
        cancelled.abort();
        assert!(cancelled.await.is_err());
    }
    drop(service.oneshot(request("/health")).await);
}

#[tokio::test(start_paused = true)]
async fn instruments_and_metrics_have_the_same_names_and_numbers() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let pipeline = Pipeline::new();
    let layer = AdmissionLayer::fixed("compared", 1)
        .queue(QueueBounds::new(2, SECOND))
        .exempt(|head| head.uri.path() == "/health")
        .observer(pipeline.telemetry.clone());
    drive(layer.clone()).await;
    drive(layer.clone().dry_run(true)).await;
    let exported = pipeline.collect();
    assert!(exported.count_like(&recorded, "compared") >= 6, "{exported:?}");
    let queue_wait = |result| format!("backpressure.queue_wait compared {result}");
    for series in [
        queue_wait("admitted"),
        queue_wait("cancelled"),
        "backpressure.retry_after compared".to_owned(),
    ] {
        let (name, labels) = series.split_once(' ').expect("a policy");
        let values = recorded.histogram(&format!("{}_seconds {labels}", name.replace('.', "_")));
        let (count, sum) = exported.histograms[&series];
        assert_eq!(count, values.len() as u64, "{series}");
        assert!((sum - values.iter().sum::<f64>()).abs() < 1e-9, "{series}: {sum} {values:?}");
    }
    let (permits, held) = exported.histograms["backpressure.permit compared"];
    assert!(permits > 12 && held > 1.2, "{permits} {held}");
    for name in ["limit", "limit_min", "limit_max", "in_flight", "queue_depth", "streams"] {
        let metric = recorded.gauge(&format!("backpressure_{name} compared"));
        assert_eq!(exported.gauges[&format!("backpressure.{name} compared")], metric, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_limit_and_removed_marks_are_counted_as_the_metrics_count_them() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let pipeline = Pipeline::new();
    let outer = AdmissionLayer::fixed("outer-limit", 8).observer(pipeline.telemetry.clone());
    let inner = BulkheadLayer::new("inner-limit", 1);
    let _held = inner.limiter().try_acquire().expect("nothing is in flight");
    let service = outer.layer(inner.layer(service_fn(respond)));
    for limit in [4, 2, 6] {
        outer.handle().pin(limit);
        for _ in 0..2 {
            drop(service.clone().oneshot(request("/")).await);
        }
    }
    // The metrics show the changes at each rejection.
    outer.handle().stop();
    drop(service.oneshot(request("/")).await);
    let exported = pipeline.collect();
    assert!(exported.count_like(&recorded, "outer-limit") >= 4, "{exported:?}");
    assert_eq!(exported.sums["backpressure.marks_removed outer-limit"], 6);
    assert_eq!(exported.sums["backpressure.limit_changes outer-limit operator"], 3);
}

#[tokio::test(start_paused = true)]
async fn the_layers_of_a_client_have_the_instruments_of_their_metrics() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let pipeline = Pipeline::new();
    let rejects = service_fn(async |_: Request<Full<Bytes>>| {
        let response = Response::builder().status(503).header("retry-after", "1");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).expect("a response"))
    });
    let (retries, breaker) = (RetryLayer::named("otel-retries"), BreakerLayer::new("otel-breaker"));
    let cooldown = CooldownLayer::new("otel-cooldown");
    let retries = retries.seed(1).layer(rejects);
    let breaker = breaker.layer(rejects);
    let cooldown = cooldown.layer(rejects);
    let get = || Request::get("http://origin/").body(Full::<Bytes>::default()).expect("a request");
    for _ in 0..30 {
        retries.clone().oneshot(get()).await.expect("infallible");
        breaker.clone().oneshot(get()).await.expect("infallible");
    }
    let mut calls = JoinSet::new();
    (0..20).for_each(|_| drop(calls.spawn(cooldown.clone().oneshot(get()))));
    sleep(SECOND / 10).await;
    calls.spawn(cooldown.clone().oneshot(get()));
    sleep(SECOND / 10).await;
    let exported = pipeline.collect();
    for (policy, least) in [("otel-retries", 3), ("otel-breaker", 1), ("otel-cooldown", 1)] {
        assert!(exported.count_like(&recorded, policy) >= least, "{policy}: {exported:?}");
    }
    for name in ["retry_budget_balance otel-retries", "held otel-cooldown", "held otel-breaker"] {
        let metric = recorded.gauge(&format!("backpressure_{name}"));
        assert_eq!(exported.gauges[&format!("backpressure.{name}")], metric, "{name}");
    }
    assert!(exported.gauges["backpressure.held otel-cooldown"] > 0.0, "{exported:?}");
    // A second layer with the same name adds to the same series, and takes nothing away when it ends.
    let again = RetryLayer::named("otel-retries").layer(rejects);
    again.clone().oneshot(get()).await.expect("infallible");
    let first_attempts = || pipeline.collect().sums["backpressure.attempts otel-retries first"];
    assert_eq!(first_attempts(), 31);
    drop(again);
    assert_eq!(first_attempts(), 31);
}

#[tokio::test(start_paused = true)]
async fn every_instrument_is_in_the_table_of_metrics() {
    let pipeline = Pipeline::new();
    let layer = AdmissionLayer::fixed("documented", 1).observer(pipeline.telemetry.clone());
    drive(layer.clone()).await;
    let Exported { sums, gauges, histograms } = pipeline.collect();
    let table = include_str!("../../docs/metrics.md");
    let suffixed = |series: &str, suffix| {
        let name = series.split(' ').next().expect("a name");
        format!("`{}{suffix}`", name.replace('.', "_"))
    };
    let sums = sums.keys().map(|series| suffixed(series, "_total"));
    let gauges = gauges.keys().map(|series| suffixed(series, ""));
    for name in sums.chain(gauges).chain(histograms.keys().map(|it| suffixed(it, "_seconds"))) {
        assert!(table.contains(&name), "{name} is not in docs/metrics.md");
    }
}

#[tokio::test(start_paused = true)]
async fn clones_observe_each_layer_under_its_own_name() {
    let pipeline = Pipeline::new();
    let layers = ["first", "second"]
        .map(|name| BulkheadLayer::new(name, 1).observer(pipeline.telemetry.clone()));
    for (layer, count) in layers.iter().zip([1, 3]) {
        for _ in 0..count {
            let service = layer.layer(service_fn(respond));
            drop(service.oneshot(request("/")).await);
        }
    }
    let exported = pipeline.collect();
    assert_eq!(exported.sums["backpressure.requests first admitted"], 1);
    assert_eq!(exported.sums["backpressure.requests second admitted"], 3);
    assert_eq!(exported.gauges["backpressure.limit second"], 1.0);
}

/// Sends a request in a span of its own; the span.
async fn in_span(layer: &AdmissionLayer) -> SpanData {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let span = provider.tracer("test").start("request");
    let context = Context::new().with_span(span);
    let sent = layer.layer(service_fn(respond)).oneshot(request("/"));
    drop(sent.with_context(context.clone()).await);
    context.span().end();
    exporter.get_finished_spans().expect("not poisoned").remove(0)
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|it| it.key.as_str() == key).map(|it| &it.value)
}

#[tokio::test(start_paused = true)]
async fn the_span_of_a_request_tells_the_decision_and_the_wait() {
    let telemetry = Pipeline::new().telemetry;
    let queue = QueueBounds::new(1, SECOND);
    let layer = AdmissionLayer::fixed("spans", 1).queue(queue).observer(telemetry);
    let permit = Arc::new(layer.limiter().try_acquire().expect("nothing is in flight"));
    let held = Arc::clone(&permit);
    tokio::spawn(async move {
        sleep(SECOND / 4).await;
        drop(held);
    });
    drop(permit);
    let waited = in_span(&layer).await;
    let decision = attribute(&waited.attributes, "backpressure.decision");
    assert_eq!(decision, Some(&Value::from("admitted")));
    let wait = attribute(&waited.attributes, "backpressure.queue_wait_ms");
    assert_eq!(wait, Some(&Value::from(250.0)));
    assert!(waited.events.iter().next().is_none());

    layer.handle().stop();
    let rejected = in_span(&layer).await;
    let decision = attribute(&rejected.attributes, "backpressure.decision");
    assert_eq!(decision, Some(&Value::from("shed")));
    let event = rejected.events.iter().next().expect("a rejection is an event");
    assert_eq!(event.name, "backpressure.rejected");
    assert_eq!(attribute(&event.attributes, "reason"), Some(&Value::from("stopped")));
    assert!(attribute(&event.attributes, "retry_after_ms").is_some());
}
