//! The order of the layers of this crate and of tower-http.

use std::fmt::Display;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{Method, Response, StatusCode, header};
use tower_backpressure::{AdmissionLayer, Rejected};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::classify::{
    ClassifiedResponse, ClassifyResponse, NeverClassifyEos, ServerErrorsAsFailures,
    ServerErrorsFailureClass, SharedClassifier,
};
use tower_http::cors::{Any, CorsLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

/// Classifies server errors as failures, except rejections. Rejections are intended: at ten times the
/// capacity, nine of ten responses are rejections, and each would be an event at level `ERROR`.
#[derive(Clone, Copy)]
struct Failures;

impl ClassifyResponse for Failures {
    type FailureClass = ServerErrorsFailureClass;
    type ClassifyEos = NeverClassifyEos<ServerErrorsFailureClass>;

    fn classify_response<B>(
        self,
        response: &Response<B>,
    ) -> ClassifiedResponse<Self::FailureClass, Self::ClassifyEos> {
        if Rejected::of(response).is_some() {
            return ClassifiedResponse::Ready(Ok(()));
        }
        ServerErrorsAsFailures::new().classify_response(response)
    }

    fn classify_error<E: Display + 'static>(self, error: &E) -> Self::FailureClass {
        ServerErrorsFailureClass::Error(error.to_string())
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET])
        // A browser lets a script read Retry-After only if the server exposes it.
        .expose_headers([header::RETRY_AFTER]);
    let timeout = Duration::from_secs(10);

    // In axum the layer that is added last is the outermost one.
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, timeout))
        // Inside the limit, so that the limit sees a response of a handler that panics.
        .layer(CatchPanicLayer::new())
        .layer(AdmissionLayer::adaptive("api"))
        // Outside the limit. A preflight gets its response here and needs no permit. A rejection gets the
        // headers without which a browser reports a network error.
        .layer(cors)
        .layer(TraceLayer::new(SharedClassifier::new(Failures)));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

// cargo run -p backpressure-examples --example layer_order
//
// The CORS layer responds to a preflight, even under overload.
//
// $ curl -i -X OPTIONS -H 'origin: https://there' -H 'access-control-request-method: GET' localhost:3000
//
// prints: access-control-allow-origin: *
