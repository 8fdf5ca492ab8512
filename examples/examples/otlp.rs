//! Metrics and spans of an overloaded service, sent by OTLP to a collector, which is a receiver in this process.
//!
//! A service names its own collector instead, such as `http://localhost:4317`.
//!
//! ```console
//! $ cargo run -p backpressure-examples --example otlp
//! ```

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::{Router, routing::get};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{FutureExt, TraceContextExt, Tracer};
use opentelemetry::{Context, global};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_proto::tonic::collector::{metrics::v1 as metrics, trace::v1 as trace};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request as Call, Response as Answer, Status};
use tower::ServiceExt;
use tower_backpressure::observe::OpenTelemetry;
use tower_backpressure::{AdmissionLayer, QueueBounds};

/// Keeps the names of what it is sent.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<BTreeSet<String>>>);

impl Receiver {
    fn keep(&self, names: impl IntoIterator<Item = String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }

    async fn listen(self) -> Result<String, Box<dyn Error>> {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
        let endpoint = format!("http://{}", incoming.local_addr()?);
        let server = Server::builder()
            .add_service(metrics::metrics_service_server::MetricsServiceServer::new(self.clone()))
            .add_service(trace::trace_service_server::TraceServiceServer::new(self));
        tokio::spawn(server.serve_with_incoming(incoming));
        Ok(endpoint)
    }
}

#[tonic::async_trait]
impl metrics::metrics_service_server::MetricsService for Receiver {
    async fn export(
        &self,
        call: Call<metrics::ExportMetricsServiceRequest>,
    ) -> Result<Answer<metrics::ExportMetricsServiceResponse>, Status> {
        let resources = call.into_inner().resource_metrics;
        let scopes = resources.into_iter().flat_map(|resource| resource.scope_metrics);
        let metrics = scopes.flat_map(|scope| scope.metrics);
        self.keep(metrics.map(|metric| format!("metric {} {}", metric.name, metric.unit)));
        Ok(Answer::new(metrics::ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl trace::trace_service_server::TraceService for Receiver {
    async fn export(
        &self,
        call: Call<trace::ExportTraceServiceRequest>,
    ) -> Result<Answer<trace::ExportTraceServiceResponse>, Status> {
        let resources = call.into_inner().resource_spans;
        let scopes = resources.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            self.keep(
                span.attributes.iter().map(|it| format!("span {} has {}", span.name, it.key)),
            );
            self.keep(
                span.events.iter().map(|it| format!("span {} has event {}", span.name, it.name)),
            );
        }
        Ok(Answer::new(trace::ExportTraceServiceResponse::default()))
    }
}

/// A span around each request, in which the layer says what it has decided.
async fn in_span(request: Request, next: Next) -> Response {
    let span = global::tracer("shop").start("request");
    next.run(request).with_context(Context::current_with_span(span)).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let receiver = Receiver::default();
    let endpoint = receiver.clone().listen().await?;
    let exporter = MetricExporter::builder().with_tonic().with_endpoint(&endpoint).build()?;
    let meters = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(&endpoint).build()?;
    let tracers = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    global::set_tracer_provider(tracers.clone());

    let telemetry = OpenTelemetry::new(&meters.meter("shop"));
    let admission = AdmissionLayer::fixed("shop", 2)
        .queue(QueueBounds::new(2, Duration::from_millis(100)))
        .observer(telemetry);
    let work = || async { tokio::time::sleep(Duration::from_millis(20)).await };
    let app: Router = Router::new().route("/", get(work)).layer(admission).layer(from_fn(in_span));
    let requests: Vec<_> =
        (0..12).map(|_| tokio::spawn(app.clone().oneshot(Request::new(Body::empty())))).collect();
    for request in requests {
        println!("{}", request.await??.status());
    }

    // Both block until the receiver has answered.
    tokio::task::spawn_blocking(move || {
        tracers.shutdown()?;
        meters.shutdown()
    })
    .await??;
    for name in receiver.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{name}");
    }
    Ok(())
}

// cargo run -p backpressure-examples --example otlp
//
// prints: 503 Service Unavailable
// prints: metric backpressure.requests
// prints: span request has backpressure.decision
// prints: span request has event backpressure.rejected
