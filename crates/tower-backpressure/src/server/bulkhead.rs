//! The bulkhead layer: a limit of its own for a route.

use std::sync::{Arc, Weak};

use backpressure_core::{OutOfRange, Outcome, QueueBounds};
use bytes::Bytes;
use http::{Response, request, response};
use http_body::Body;
use tower_layer::Layer;

use super::admission::{Admission, AdmissionLayer};
use super::compartments::CompartmentsLayer;
use super::handle::Handle;
use super::quota::ExtractKey;
use crate::admission::stream_rules::StreamPolicy;
use crate::limiter::{Limiter, Snapshot};
use crate::observe::{Kind, Observer};

mod keyed;

use self::keyed::Compartments;

/// Limits how many requests of a route run at once, so that one slow dependency cannot occupy the whole
/// service. A request beyond the limit is rejected at once with a 503 and a Retry-After.
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
/// Put it on a route inside an [`AdmissionLayer`] over all routes: a rejection by the bulkhead teaches
/// the outer limit nothing. The outer layer removes the promise that the request was not begun, so that
/// `RetryLayer` repeats a `GET` and no `POST`; a bulkhead alone on its route keeps the promise.
///
/// # Errors
/// The service's own errors pass through. A rejection is a response, never an error.
#[derive(Clone, Debug)]
pub struct BulkheadLayer(AdmissionLayer);

impl BulkheadLayer {
    /// At most `limit` requests at once; `name` labels metrics and events.
    ///
    /// # Panics
    /// When `limit` is not in 1..=1 000 000.
    #[must_use]
    pub fn new(name: &str, limit: usize) -> Self {
        Self(AdmissionLayer::of_kind(
            Kind::Bulkhead,
            name,
            Limiter::fixed(limit, QueueBounds::NONE),
        ))
    }

    /// [`new`](Self::new) for a number that is not known when the program is written.
    ///
    /// # Errors
    /// When `limit` is not in 1..=1 000 000.
    pub fn try_new(name: &str, limit: usize) -> Result<Self, OutOfRange> {
        Ok(Self(AdmissionLayer::of_kind(
            Kind::Bulkhead,
            name,
            Limiter::try_fixed(limit, QueueBounds::NONE)?,
        )))
    }

    /// A compartment of `limit` permits for each key: for each tenant, host, matched path or value of a header. All
    /// requests without a key share one.
    ///
    /// ```
    /// use axum::extract::MatchedPath;
    /// use axum::{Router, routing::get};
    /// use http::request::Parts;
    /// use tower_backpressure::BulkheadLayer;
    /// use tower_backpressure::server::{ByTenant, QuotaKey};
    ///
    /// let by_route = |head: &Parts| {
    ///     head.extensions.get::<MatchedPath>().map(|path| QuotaKey::from(path.as_str()))
    /// };
    /// let app: Router = Router::new()
    ///     .route("/users/{id}", get(|| async { "a user" }))
    ///     .route_layer(BulkheadLayer::per("routes", 20, by_route));
    /// let by_tenant = BulkheadLayer::per("tenants", 5, ByTenant);
    /// # let _ = by_tenant;
    /// ```
    ///
    /// A thousand keys that no request uses are kept, and those in use are never forgotten. A caller that chooses its
    /// key has as many permits as it likes: put an [`AdmissionLayer`] around it, or take a key that the service has
    /// verified. [`AdmissionLayer::per`] has other options. Metrics count all keys together, and name no key.
    ///
    /// # Panics
    /// When `limit` is not in 1..=1 000 000.
    #[must_use]
    pub fn per(name: &str, limit: usize, key: impl ExtractKey) -> CompartmentsLayer {
        AdmissionLayer::of_kind(Kind::Bulkhead, name, Limiter::fixed(1, QueueBounds::NONE)).per(
            limit,
            QueueBounds::NONE,
            key,
        )
    }

    /// Lets requests wait in a queue. Where priorities matter there should be one: without a queue a request of a
    /// high priority that finds no permit is rejected, and a flood of a low one takes each permit as it is released.
    #[must_use]
    pub fn queue(self, bounds: QueueBounds) -> Self {
        Self(self.0.queue(bounds))
    }

    /// What a response teaches the limit: see [`AdmissionLayer::classify`]. The bulkhead's own limit is
    /// constant and does not learn; one that replaces it through [`limiter`](Self::limiter) may.
    #[must_use]
    pub fn classify(
        self,
        rule: impl Fn(&response::Parts) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        Self(self.0.classify(rule))
    }

    /// Decides, counts and reports, but runs every request: see [`AdmissionLayer::dry_run`].
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Self {
        Self(self.0.dry_run(dry_run))
    }

    /// Requests that are never limited and hold no permit: see [`AdmissionLayer::exempt`].
    #[must_use]
    pub fn exempt(
        self,
        predicate: impl Fn(&request::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(self.0.exempt(predicate))
    }

    /// Names the type of a request's body: see [`AdmissionLayer::request_body`].
    #[must_use]
    pub fn request_body<B: Body + Send + 'static>(self) -> Self {
        Self(self.0.request_body::<B>())
    }

    /// The handle with which an operator observes and operates this layer: see [`AdmissionLayer::handle`].
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        self.0.handle()
    }

    /// What limits responses that are streams: see [`AdmissionLayer::streams`].
    #[must_use]
    pub fn streams(self, policy: StreamPolicy) -> Self {
        Self(self.0.streams(policy))
    }

    /// Requests the responses to which are streams too: see [`AdmissionLayer::stream_if`].
    #[must_use]
    pub fn stream_if(self, rule: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        Self(self.0.stream_if(rule))
    }

    /// Puts a handle of its permit into the extensions of each request: see
    /// [`AdmissionLayer::expose_permit`].
    #[must_use]
    pub fn expose_permit(self, expose: bool) -> Self {
        Self(self.0.expose_permit(expose))
    }

    /// Renders the response to a rejected request: see [`AdmissionLayer::on_reject`].
    #[must_use]
    pub fn on_reject(
        self,
        render: impl Fn(&request::Parts, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Self(self.0.on_reject(render))
    }

    /// Tells an [`Observer`] of each decision: see [`AdmissionLayer::observer`].
    #[must_use]
    pub fn observer(self, observer: impl Observer) -> Self {
        Self(self.0.observer(observer))
    }

    /// The limiter inside, to observe it or to change its limit at run time.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        self.0.limiter()
    }

    /// The state at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }
}

impl AdmissionLayer {
    /// A compartment of `limit` permits with a queue for each key, with the other options of this layer: see
    /// [`BulkheadLayer::per`]. The limiter of this layer is not used.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_backpressure::server::ByTenant;
    /// use tower_backpressure::{AdmissionLayer, QueueBounds};
    ///
    /// let queue = QueueBounds::new(10, Duration::from_millis(200));
    /// let layer = AdmissionLayer::fixed("tenants", 1).dry_run(true).per(5, queue, ByTenant);
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    /// When `limit` is not in 1..=1 000 000.
    #[must_use]
    pub fn per(self, limit: usize, queue: QueueBounds, key: impl ExtractKey) -> CompartmentsLayer {
        let compartments = Arc::new(Compartments::new(&self, limit, queue));
        let keyed: Weak<Compartments> = Arc::downgrade(&compartments);
        self.handle().show_keyed(keyed);
        CompartmentsLayer::new(move |head| compartments.select(head, &key))
    }
}

impl From<BulkheadLayer> for AdmissionLayer {
    /// The admission layer that does it, for all other options.
    fn from(bulkhead: BulkheadLayer) -> Self {
        bulkhead.0
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(inner)
    }
}
