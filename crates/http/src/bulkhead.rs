//! Bulkheads: a compartment with its own share.

use backpressure_gate::{Gate, OutOfRange, Outcome, QueueBounds, Snapshot};
use http::{request, response};
use http_body::Body;
use tower_layer::Layer;

use crate::admission::{Admission, AdmissionLayer};

/// Gives a route a share of its own, so that one slow dependency cannot take every slot there is.
///
/// At most so many requests run in the compartment at once; the next is turned away at once with a
/// 503 and a Retry-After.
///
/// ```
/// use axum::{Router, routing::{get, post}};
/// use tower_backpressure::BulkheadLayer;
///
/// let app: Router = Router::new()
///     .route("/pay", post(|| async { "paid" }).route_layer(BulkheadLayer::new("payments", 10)))
///     .route("/search", get(|| async { "found" }));
/// ```
///
/// Put it on a route inside an [`AdmissionLayer`] over all routes; what the bulkhead refuses
/// teaches the outer limit nothing. It no longer says that the request was not begun when it leaves
/// the outer layer, so that our client sends a `GET` again and no `POST`; a bulkhead alone on its
/// route says it.
///
/// # Errors
/// The service's own errors pass through. A refusal is a response, never an error.
#[derive(Clone, Debug)]
pub struct BulkheadLayer(AdmissionLayer);

impl BulkheadLayer {
    /// A compartment for `places` requests at once; `name` labels its metrics and events.
    ///
    /// # Panics
    /// When `places` is not in 1..=1 000 000.
    #[must_use]
    pub fn new(name: &str, places: usize) -> Self {
        Self(AdmissionLayer::over(name, Gate::fixed(places, QueueBounds::NONE)))
    }

    /// The same with a number that is not known when the program is written.
    ///
    /// # Errors
    /// When `places` is not in 1..=1 000 000.
    pub fn try_new(name: &str, places: usize) -> Result<Self, OutOfRange> {
        Ok(Self(AdmissionLayer::over(name, Gate::try_fixed(places, QueueBounds::NONE)?)))
    }

    /// Lets requests wait for a place.
    #[must_use]
    pub fn queue(self, bounds: QueueBounds) -> Self {
        Self(self.0.queue(bounds))
    }

    /// Says what a response teaches: see [`AdmissionLayer::classify`]. A bulkhead's own limit does
    /// not learn; one that replaces it through [`gate`](Self::gate) may.
    #[must_use]
    pub fn classify(
        self,
        rule: impl Fn(&response::Parts) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        Self(self.0.classify(rule))
    }

    /// Decides, counts and reports, and lets every request through: see [`AdmissionLayer::dry_run`].
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Self {
        Self(self.0.dry_run(dry_run))
    }

    /// Requests that are never limited and take no place: see [`AdmissionLayer::exempt`].
    #[must_use]
    pub fn exempt(
        self,
        predicate: impl Fn(&request::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(self.0.exempt(predicate))
    }

    /// Names the type of a request's body: see [`AdmissionLayer::reads_refused`].
    #[must_use]
    pub fn reads_refused<B: Body + Send + 'static>(self) -> Self {
        Self(self.0.reads_refused::<B>())
    }

    /// The gate inside: to look at it, or to change its limit while it runs.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        self.0.gate()
    }

    /// The state of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(inner)
    }
}
