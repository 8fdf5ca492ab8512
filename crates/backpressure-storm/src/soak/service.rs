//! The service that is soaked.

use crate::handler::Work;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::routing::{get, post};
use std::sync::Arc;
use tower_backpressure::AdmissionLayer;

/// Length of what `/download` sends: more than the buffers of a connection hold.
const DOWNLOAD_BYTES: usize = 4 << 20;

/// `/work` computes for 2 ms, `/upload` reads a body, `/download` sends a long one.
pub(super) fn router(work: &Arc<Work>, admission: AdmissionLayer) -> Router {
    Router::new()
        .route("/work", get(compute))
        .route("/upload", post(async |body: Bytes| body.len().to_string()))
        .route("/download", get(download))
        .with_state(Arc::clone(work))
        .layer(admission)
}

async fn compute(State(work): State<Arc<Work>>) -> &'static str {
    work.spin(2);
    "done"
}

async fn download() -> Body {
    static ZEROS: [u8; DOWNLOAD_BYTES] = [0; DOWNLOAD_BYTES];
    Body::from(Bytes::from_static(&ZEROS))
}
