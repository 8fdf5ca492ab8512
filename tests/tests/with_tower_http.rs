//! The layers of this library together with those of tower-http, in the order the README gives.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Method, Request, Response, StatusCode, header};
use tower::{ServiceBuilder, ServiceExt};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, Permit, QueueBounds, Reason, Rejected};
use tower_http::classify::{
    ClassifiedResponse, ClassifyResponse, GrpcErrorsAsFailures, ServerErrorsAsFailures,
    SharedClassifier,
};
use tower_http::cors::{Any, CorsLayer};
use tower_http::trace::TraceLayer;
use tracing::span;

/// Counts events at level ERROR.
#[derive(Clone, Default)]
struct ErrorEvents(Arc<AtomicUsize>);

impl tracing::Subscriber for ErrorEvents {
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

/// The README's classifier around any other: it does not count rejections as failures.
#[derive(Clone)]
struct RejectionsAreSuccesses<C>(C);

impl<C: ClassifyResponse> ClassifyResponse for RejectionsAreSuccesses<C> {
    type FailureClass = C::FailureClass;
    type ClassifyEos = C::ClassifyEos;

    fn classify_response<B>(
        self,
        response: &Response<B>,
    ) -> ClassifiedResponse<Self::FailureClass, Self::ClassifyEos> {
        if Rejected::of(response).is_some() {
            return ClassifiedResponse::Ready(Ok(()));
        }
        self.0.classify_response(response)
    }

    fn classify_error<E: Display + 'static>(self, error: &E) -> Self::FailureClass {
        self.0.classify_error(error)
    }
}

/// A service whose limit or bulkhead is full, and the permit that keeps it full.
fn full_service(bulkhead_is_full: bool) -> (Router, Permit) {
    let layer = AdmissionLayer::fixed("api", if bulkhead_is_full { 8 } else { 1 });
    let layer = layer.queue(QueueBounds::NONE);
    let bulkhead = BulkheadLayer::new("part", 1);
    let limiter = if bulkhead_is_full { bulkhead.limiter() } else { layer.limiter() };
    let permit = limiter.try_acquire().expect("a free permit");
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
async fn rejections_are_not_logged_as_errors_and_failures_are() {
    for bulkhead_is_full in [false, true] {
        let errors = ErrorEvents::default();
        let _guard = tracing::subscriber::set_default(errors.clone());
        let (app, permit) = full_service(bulkhead_is_full);
        let app = app.layer(TraceLayer::new(SharedClassifier::new(RejectionsAreSuccesses(
            ServerErrorsAsFailures::new(),
        ))));
        for _ in 0..100 {
            let response = send(&app, Method::GET, "/").await;
            assert_eq!(response.status(), 503);
            assert_eq!(Rejected::of(&response), Some(Rejected(Reason::Limit)));
        }
        assert_eq!(errors.0.load(Ordering::SeqCst), 0);
        drop(permit);
        assert_eq!(send(&app, Method::GET, "/fails").await.status(), 500);
        assert_eq!(errors.0.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn rejected_grpc_calls_are_not_logged_as_errors_and_calls_that_fail_are() {
    for bulkhead_is_full in [false, true] {
        let errors = ErrorEvents::default();
        let _guard = tracing::subscriber::set_default(errors.clone());
        let outer = AdmissionLayer::fixed("api", if bulkhead_is_full { 8 } else { 1 });
        let (outer, inner) = (outer.queue(QueueBounds::NONE), BulkheadLayer::new("part", 1));
        let limiter = if bulkhead_is_full { inner.limiter() } else { outer.limiter() };
        let permit = limiter.try_acquire().expect("a free permit");
        let classifier = SharedClassifier::new(RejectionsAreSuccesses(GrpcErrorsAsFailures::new()));
        let service = ServiceBuilder::new()
            .layer(TraceLayer::new(classifier))
            .layer(outer)
            .layer(inner)
            .service_fn(async |_: Request<Body>| {
                let failed = Response::builder().header("grpc-status", "14").body(Body::empty());
                Ok::<_, std::convert::Infallible>(failed.expect("a response"))
            });
        let call = || {
            let call = Request::post("/").header(header::CONTENT_TYPE, "application/grpc");
            service.clone().oneshot(call.body(Body::empty()).expect("a request"))
        };
        for _ in 0..100 {
            let response = call().await.expect("infallible");
            assert_eq!(response.headers()["grpc-status"], "14");
            assert_eq!(Rejected::of(&response), Some(Rejected(Reason::Limit)));
        }
        assert_eq!(errors.0.load(Ordering::SeqCst), 0);
        drop(permit);
        assert_eq!(call().await.expect("infallible").headers()["grpc-status"], "14");
        assert_eq!(errors.0.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_preflight_reaches_cross_origin_rules_inside_of_a_full_layer_that_exempts_it() {
    let cors = CorsLayer::new().allow_origin(Any).allow_methods([Method::GET]);
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let exempting = layer.exempt(|head| head.method == Method::OPTIONS);
    let app = Router::new().route("/", get(async || "hello")).layer(cors).layer(exempting);
    let preflight = send(&app, Method::OPTIONS, "/").await;
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-methods"], "GET");
    assert_eq!(send(&app, Method::GET, "/").await.status(), 503);
}

#[tokio::test]
async fn a_full_service_responds_to_a_preflight_and_browsers_can_read_its_rejections() {
    let cors = CorsLayer::new().allow_origin(Any).allow_methods([Method::GET]);
    let (app, _permit) = full_service(false);
    let app = app.layer(cors.expose_headers([header::RETRY_AFTER]));
    let preflight = send(&app, Method::OPTIONS, "/").await;
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-methods"], "GET");
    let rejected = send(&app, Method::GET, "/").await;
    assert_eq!(rejected.status(), 503);
    assert_eq!(rejected.headers()["access-control-allow-origin"], "*");
    assert_eq!(rejected.headers()["access-control-expose-headers"], "retry-after");
}

#[tokio::test]
async fn the_layers_compose_with_those_of_tower_http_without_a_router() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let handler = tower::service_fn(move |_: Request<Body>| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, std::convert::Infallible>(Response::new(Body::empty())) }
    });
    let app = ServiceBuilder::new()
        .layer(TraceLayer::new(SharedClassifier::new(RejectionsAreSuccesses(
            ServerErrorsAsFailures::new(),
        ))))
        .layer(CorsLayer::permissive())
        .layer(AdmissionLayer::adaptive("api"))
        .layer(BulkheadLayer::new("part", 1))
        .service(handler);
    let response = app.oneshot(Request::new(Body::empty())).await.expect("infallible");
    assert_eq!((response.status().as_u16(), calls.load(Ordering::SeqCst)), (200, 1));
}
