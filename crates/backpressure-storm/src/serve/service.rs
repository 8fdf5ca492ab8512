//! The demo service and its dependency: two real servers, the first a client of the second.

use crate::client::{target, to_origin_form};
use crate::pool::Pool;
use crate::serve::controls::Controls;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use axum::routing::{any, get};
use bytes::Bytes;
use http_body_util::Full;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_backpressure::AdmissionLayer;
use tower_backpressure::client::ClientStack;

/// Queries that run at once in the dependency.
const QUERIES_AT_ONCE: usize = 4;
/// How long the service waits for its dependency.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Bound of the service's own limit: four times what the database runs at once. Clients hang up after a second, and
/// queries go on: what the service has in flight is then no measure of what the database has. Without a bound, naive
/// clients at 160/s and queries of 200 ms get 0 answers a second (with it 20), and 95 of 160 in the twelve seconds
/// after 300 ms at 1000/s (with it all).
const MAX_AT_ONCE: usize = 16;

/// A database: a few queries at once, each runs to its end, whether or not its client is still there. One that has
/// waited for [`QUERY_TIMEOUT`] fails.
pub(crate) fn dependency(controls: Arc<Controls>) -> Router {
    let pool = Arc::new(Semaphore::new(QUERIES_AT_ONCE));
    Router::new().route("/query", get(query)).with_state((pool, controls))
}

async fn query(State((pool, controls)): State<(Arc<Semaphore>, Arc<Controls>)>) -> StatusCode {
    let query = tokio::spawn(async move {
        let Ok(_running) = timeout(QUERY_TIMEOUT, pool.acquire_owned()).await else { return false };
        sleep(controls.delay()).await;
        true
    });
    if query.await.unwrap_or(false) { StatusCode::OK } else { StatusCode::GATEWAY_TIMEOUT }
}

/// The service twice, bare and behind the layers; each request goes to the one that is switched on.
pub(crate) fn service(
    controls: &Arc<Controls>,
    dependency: SocketAddr,
    connections: usize,
) -> Router {
    let pool = Pool::new(dependency, connections);
    let call = move |mut request: http::Request<Full<Bytes>>| {
        let pool = pool.clone();
        to_origin_form(&mut request);
        async move { timeout(QUERY_TIMEOUT, pool.send(request)).await? }
    };
    let bare = handler(dependency, service_fn(call.clone()));
    let stack = ClientStack::new("database").deadline(QUERY_TIMEOUT).attempt_timeout(QUERY_TIMEOUT);
    let layered = handler(dependency, stack.layer(service_fn(call)))
        .layer(AdmissionLayer::adaptive("shop").max(MAX_AT_ONCE));
    let state = (Arc::clone(controls), bare, layered);
    Router::new().route("/work", any(switch)).with_state(state)
}

async fn switch(
    State((controls, bare, layered)): State<(Arc<Controls>, Router, Router)>,
    request: Request,
) -> Result<Response, Infallible> {
    let router = if controls.settings().layers { layered } else { bare };
    router.oneshot(request).await
}

/// The handler: one query, and nothing else.
fn handler<S, B>(dependency: SocketAddr, client: S) -> Router
where
    S: Service<http::Request<Full<Bytes>>, Response = http::Response<B>>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send,
{
    let uri = target(dependency, "/query");
    let work = move || {
        let (client, request) =
            (client.clone(), http::Request::get(uri.clone()).body(Full::default()));
        async move {
            let request = request.expect("a URI makes a request");
            match client.oneshot(request).await {
                // A refusal of the client stack goes on to the caller, and says when to come back.
                Ok(response) => {
                    let (head, _) = response.into_parts();
                    let mut answer = Response::new(Body::empty());
                    (*answer.status_mut(), *answer.headers_mut()) = (head.status, head.headers);
                    answer.headers_mut().remove(CONTENT_LENGTH);
                    answer
                }
                Err(_) => {
                    let mut answer = Response::new(Body::empty());
                    *answer.status_mut() = StatusCode::BAD_GATEWAY;
                    answer
                }
            }
        }
    };
    Router::new().route("/work", get(work))
}
