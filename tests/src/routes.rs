//! Routes of an axum app that share a pool of connections, one of which may hang.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{MethodRouter, get};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tower_backpressure::AdmissionLayer;

/// Connections of the pool that all handlers use.
pub const POOL: usize = 32;
/// How long a request holds a connection.
pub const WORK: Duration = Duration::from_millis(10);

/// The pool.
pub type Pool = Arc<Semaphore>;

async fn works(State(pool): State<Pool>) -> &'static str {
    let _connection = pool.acquire().await.expect("never closed");
    sleep(WORK).await;
    "done"
}

/// A handler that takes a connection and never responds.
pub async fn hangs_for_ever(State(pool): State<Pool>) -> &'static str {
    let _connection = pool.acquire().await.expect("never closed");
    std::future::pending().await
}

/// `/orders` and `/search`, which work, and `/reports`; each behind a layer of its own if there is one.
pub fn app(layer: impl Fn(&str) -> Option<AdmissionLayer>, reports: MethodRouter<Pool>) -> Router {
    let of = |name, route: MethodRouter<Pool>| match layer(name) {
        Some(layer) => route.layer(layer),
        None => route,
    };
    Router::new()
        .route("/orders", of("orders", get(works)))
        .route("/search", of("search", get(works)))
        .route("/reports", of("reports", reports))
        .with_state(Arc::new(Semaphore::new(POOL)))
}
