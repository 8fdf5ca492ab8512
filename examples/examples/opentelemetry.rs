//! Instruments of OpenTelemetry, without a facade between: requests, waits and gauges of two layers.
//!
//! The exporter keeps everything in memory, and the example prints it. A service has the exporter of
//! `opentelemetry-otlp` there, and its collector shows the names of `docs/metrics.md`.
//!
//! ```console
//! $ cargo run -p backpressure-examples --example opentelemetry
//! ```

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::{Router, routing::get};
use http::Request;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use tower::ServiceExt;
use tower_backpressure::observe::OpenTelemetry;
use tower_backpressure::{AdmissionLayer, BulkheadLayer, QueueBounds};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    let telemetry = OpenTelemetry::new(&provider.meter("shop"));

    let payments = BulkheadLayer::new("payments", 2).observer(telemetry.clone());
    let admission = AdmissionLayer::fixed("shop", 4)
        .queue(QueueBounds::new(4, Duration::from_millis(100)))
        .observer(telemetry);
    let work = || async { tokio::time::sleep(Duration::from_millis(20)).await };
    let app: Router = Router::new().route("/pay", get(work)).route_layer(payments).layer(admission);

    let requests: Vec<_> = (0..12)
        .map(|_| {
            let request = Request::get("/pay").body(Body::empty());
            request.map(|request| tokio::spawn(app.clone().oneshot(request)))
        })
        .collect::<Result<_, _>>()?;
    for request in requests {
        println!("{}", request.await??.status());
    }

    provider.force_flush()?;
    for resource in exporter.get_finished_metrics()? {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            println!("{} {:?}", metric.name(), metric.data());
        }
    }
    Ok(provider.shutdown()?)
}

// cargo run -p backpressure-examples --example opentelemetry
//
// prints: backpressure.requests
