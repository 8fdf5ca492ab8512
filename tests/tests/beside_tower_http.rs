//! Beside the layers of tower-http, in the order that the README gives.

use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Method, Request, Response, StatusCode, header};
use tower::{ServiceBuilder, ServiceExt};
use tower_backpressure::Permit;
use tower_backpressure::{AdmissionLayer, BulkheadLayer, QueueBounds, Reason, Rejected};
use tower_http::classify::{
    ClassifiedResponse, ClassifyResponse, NeverClassifyEos, ServerErrorsAsFailures,
    ServerErrorsFailureClass, SharedClassifier,
};
use tower_http::cors::{Any, CorsLayer};
use tower_http::trace::TraceLayer;
use tracing::span;

/// Counts events at level ERROR.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span() || *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let is_error = *event.metadata().level() == tracing::Level::ERROR;
        self.0.fetch_add(usize::from(is_error), Ordering::SeqCst);
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The classifier of the README.
#[derive(Clone, Copy)]
struct Failures;

impl ClassifyResponse for Failures {
    type FailureClass = ServerErrorsFailureClass;
    type ClassifyEos = NeverClassifyEos<ServerErrorsFailureClass>;

    fn classify_response<B>(
        self,
        response: &Response<B>,
    ) -> ClassifiedResponse<Self::FailureClass, Self::ClassifyEos> {
        if Rejected::of(response.extensions()).is_some() {
            return ClassifiedResponse::Ready(Ok(()));
        }
        ServerErrorsAsFailures::new().classify_response(response)
    }

    fn classify_error<E: Display + 'static>(self, error: &E) -> Self::FailureClass {
        ServerErrorsFailureClass::Error(error.to_string())
    }
}

/// A service whose limit or bulkhead is full, and what keeps it so.
fn full(is_bulkhead: bool) -> (Router, Permit) {
    let layer = AdmissionLayer::fixed("api", if is_bulkhead { 8 } else { 1 });
    let layer = layer.queue(QueueBounds::NONE);
    let bulkhead = BulkheadLayer::new("part", 1);
    let limiter = if is_bulkhead { bulkhead.limiter() } else { layer.limiter() };
    let permit = limiter.try_acquire().expect("room for one");
    let route = get(async || "hello").layer(bulkhead);
    let fails = get(async || StatusCode::INTERNAL_SERVER_ERROR);
    (Router::new().route("/", route).route("/fails", fails).layer(layer), permit)
}

async fn send(app: &Router, method: Method, path: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).header("origin", "https://there");
    let request = request.header("access-control-request-method", "GET").body(Body::empty());
    app.clone().oneshot(request.expect("a request")).await.expect("infallible")
}

#[tokio::test]
async fn refusals_are_no_errors_in_the_log_and_failures_are() {
    for is_bulkhead in [false, true] {
        let errors = Errors::default();
        let _guard = tracing::subscriber::set_default(errors.clone());
        let (app, permit) = full(is_bulkhead);
        let app = app.layer(TraceLayer::new(SharedClassifier::new(Failures)));
        for _ in 0..100 {
            let answer = send(&app, Method::GET, "/").await;
            assert_eq!(answer.status(), 503);
            assert_eq!(Rejected::of(answer.extensions()), Some(Rejected(Reason::Limit)));
        }
        assert_eq!(errors.0.load(Ordering::SeqCst), 0);
        drop(permit);
        assert_eq!(send(&app, Method::GET, "/fails").await.status(), 500);
        assert_eq!(errors.0.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_preflight_is_answered_by_a_full_service_and_its_refusals_reach_a_browser() {
    let cors = CorsLayer::new().allow_origin(Any).allow_methods([Method::GET]);
    let (app, _permit) = full(false);
    let app = app.layer(cors.expose_headers([header::RETRY_AFTER]));
    let preflight = send(&app, Method::OPTIONS, "/").await;
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-methods"], "GET");
    let refused = send(&app, Method::GET, "/").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["access-control-allow-origin"], "*");
    assert_eq!(refused.headers()["access-control-expose-headers"], "retry-after");
}

#[tokio::test]
async fn the_layers_of_tower_http_take_ours_without_a_router_between() {
    let seen = Arc::new(Mutex::new(0));
    let count = Arc::clone(&seen);
    let handler = tower::service_fn(move |_: Request<Body>| {
        *count.lock().expect("no panic") += 1;
        async { Ok::<_, std::convert::Infallible>(Response::new(Body::empty())) }
    });
    let app = ServiceBuilder::new()
        .layer(TraceLayer::new(SharedClassifier::new(Failures)))
        .layer(CorsLayer::permissive())
        .layer(AdmissionLayer::adaptive("api"))
        .layer(BulkheadLayer::new("part", 1))
        .service(handler);
    let answer = app.oneshot(Request::new(Body::empty())).await.expect("infallible");
    assert_eq!((answer.status().as_u16(), *seen.lock().expect("no panic")), (200, 1));
}
