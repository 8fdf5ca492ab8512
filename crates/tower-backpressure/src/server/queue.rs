//! The queue layer: workers, and a queue of constant depth before them.

use std::time::Duration;

use backpressure_core::QueueBounds;
use tower_layer::Layer;

use super::admission::{Admission, AdmissionLayer};
use super::handle::Handle;
use crate::limiter::Limiter;
use crate::observe::Kind;

/// A fixed number of workers and a bounded queue before them, which serves in order and rejects by its depth.
///
/// Use it where that is what is wanted: for jobs, and where a long queue is better than a rejection. Under
/// overload each request waits behind the whole queue. An [`AdmissionLayer`] shortens its queue then.
///
/// ```
/// use axum::{Router, routing::post};
/// use tower_backpressure::server::QueueLayer;
///
/// let app: Router = Router::new()
///     .route("/reports", post(|| async { "made" }).layer(QueueLayer::new("reports", 4, 100)));
/// ```
///
/// For work that is not HTTP, `Limiter::fixed(4, QueueBounds::in_order(100, max_wait))` is the same.
///
/// # Errors
/// The service's own errors pass through. A rejection is a response, never an error.
#[derive(Clone, Debug)]
pub struct QueueLayer(AdmissionLayer);

/// How long a request is queued at most, unless [`AdmissionLayer::queue`] says otherwise: callers that wait for longer are rare, and a deadline in its
/// [`RequestInfo`](crate::RequestInfo) counts in any case.
const MAX_WAIT: Duration = Duration::from_secs(30);

impl QueueLayer {
    /// At most `workers` requests run at once, and `depth` wait; `name` labels metrics and events.
    ///
    /// # Panics
    /// When `workers` is not in 1..=1 000 000.
    #[must_use]
    pub fn new(name: &str, workers: usize, depth: usize) -> Self {
        let bounds = QueueBounds::in_order(depth, MAX_WAIT);
        Self(AdmissionLayer::of_kind(Kind::Queue, name, Limiter::fixed(workers, bounds)))
    }

    /// The handle with which an operator observes and operates this layer.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        self.0.handle()
    }
}

impl From<QueueLayer> for AdmissionLayer {
    /// The admission layer that does it, for all other options.
    ///
    /// ```
    /// use tower_backpressure::{AdmissionLayer, QueueLayer};
    ///
    /// let layer = AdmissionLayer::from(QueueLayer::new("reports", 4, 100)).dry_run(true);
    /// # let _ = layer;
    /// ```
    fn from(queue: QueueLayer) -> Self {
        queue.0
    }
}

impl<S> Layer<S> for QueueLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(inner)
    }
}
