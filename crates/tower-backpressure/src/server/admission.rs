//! The admission layer: a limit, a bounded queue, and rejections that say when to come back.

use std::sync::Arc;

use backpressure_core::{Limit, OutOfRange, QueueBounds};
use http::StatusCode;
use tower_layer::Layer;

use super::handle::Handle;
use crate::admission::classify::Side;
use crate::admission::delayed_rejection::DelayedRejection;
use crate::admission::drain::Drains;
use crate::admission::rejection::Rejection;
use crate::admission::response_policy::ResponsePolicy;
use crate::admission::return_ticket::ReturnTickets;
use crate::admission::switches::Switches;
use crate::admission::{Limited, PermitScope, Policy};
use crate::limiter::{Limiter, Snapshot};
use crate::observe::{Kind, Telemetry};

/// Admits as many requests at once as the service can use, queues what will be served soon, and rejects
/// the rest early with a 503 that says when to come back.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_backpressure::AdmissionLayer;
///
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(AdmissionLayer::adaptive("api"));
/// ```
///
/// All state lives in the layer value: the services it makes, on every route and connection, share one
/// limit, and so do clones of the layer.
///
/// | option | default | why |
/// |---|---|---|
/// | [`queue`](Self::queue) | 16 384 requests, 1 s, of which as many as run in that time, or 1024 | absorbs a burst; it shortens itself under overload |
/// | [`min`](Self::min), [`max`](Self::max) | 1, 1 000 000 | an operator's bounds, whatever the measurements say |
/// | [`initial`](Self::initial) | the algorithm's own | the limit adapts from there |
/// | [`reserve_share`](Self::reserve_share) | none | higher priorities get all that they can use |
/// | [`status`](Self::status) | 503 | 429 blames the caller |
/// | [`scope`](Self::scope) | [`PermitScope::Body`] | a body in transfer may still be produced |
/// | [`dry_run`](Self::dry_run) | false | turn it on to see what would be rejected |
/// | [`exempt`](Self::exempt) | no request | health checks, metrics, a preflight `OPTIONS` |
/// | [`streams`](Self::streams) | [`StreamPolicy::Work`](crate::StreamPolicy::Work) | a stream may compute its events |
/// | [`expose_permit`](Self::expose_permit) | false | turn it on for handlers that outlive their response, or wait for long |
/// | [`on_reject`](Self::on_reject) | problem details (RFC 9457) | a page of your own |
/// | [`expose_pressure`](Self::expose_pressure) | false | turn it on for handlers that can do with less |
/// | [`classify`](Self::classify) | by status | a failed dependency is no overload of this service |
/// | [`reveal_reason`](Self::reveal_reason) | true | turn it off where callers should not know |
/// | [`delay_rejections`](Self::delay_rejections) | 1024, for a second, in a flood | an immediate retry must not pay |
///
/// # What a rejection promises
/// The header [`SHED_REASON`](crate::SHED_REASON) on a rejection says that the request was not begun. A layer
/// that has admitted a request removes it from the response, as a handler may have run, and with it the
/// [`Shed`](crate::Shed) of a client layer. So a rejection by a layer inside another layer does not
/// promise it: `RetryLayer` repeats such a `GET` and no `POST`. A handler that passes on a response and
/// has no layer of this crate around it must remove the header itself.
///
/// # Uploads that are rejected
/// Many clients read no response before they have sent the body, and a connection that is closed
/// meanwhile takes the rejection with it. So the body of a rejected request is read and discarded
/// while the response goes out: for up to 5 s and 128 MiB each, at most 1024 bodies and 1 GiB at
/// once. Over HTTP/1 the connection is kept after a body of up to 64 KiB and announced closed after a
/// larger one. Where request and response bodies have one type, as between an axum router and its
/// layers and in tonic, this needs no configuration. Elsewhere name the type of the request's body with
/// [`request_body`](Self::request_body): over hyper alone, or where another layer that changes the
/// response's body stands directly inside, as a [`BulkheadLayer`](crate::BulkheadLayer) in the same
/// `ServiceBuilder`. A body that is not read is announced closed with its connection.
///
/// # Once on a path
/// One layer value, or layers [over](Self::over) one limiter, belong on the way of a request once. A second
/// pass takes a second permit for the same request, and requests that hold the first can fill the limit
/// for each other until their time in the queue is over. Different layers may be nested.
///
/// # Priority and deadline
/// The queue honours the [`RequestInfo`](crate::RequestInfo) in the request's extensions, where
/// [`RequestInfoLayer`](crate::RequestInfoLayer) or code of your own puts it. A [`Priority`](crate::Priority) or
/// a [`Deadline`](crate::Deadline) alone is read as well.
///
/// # Errors
/// The service's own errors pass through. A rejection is a response, never an error.
///
/// # Cancellation
/// A request that is dropped at any point leaves the queue or releases its permit.
#[derive(Clone, Debug)]
pub struct AdmissionLayer {
    pub(super) policy: Arc<Policy>,
    handle: Handle,
}

/// The service of [`AdmissionLayer`] and [`BulkheadLayer`](crate::BulkheadLayer).
pub type Admission<S> = Limited<S, Arc<Policy>>;

impl AdmissionLayer {
    /// Admission with a limit that adapts; `name` labels its metrics and events.
    ///
    /// The limit takes into account the worker threads of the current tokio runtime; outside a
    /// runtime, the available parallelism. A program with several runtimes, such as one for each core, makes a layer in each:
    /// a limit for all would take the wait for a thread of one of them for that of a full service.
    #[must_use]
    pub fn adaptive(name: &str) -> Self {
        Self::over(name, Limiter::adaptive())
    }

    /// Admission with a constant limit.
    ///
    /// # Panics
    /// When `limit` is not in 1..=1 000 000.
    #[must_use]
    pub fn fixed(name: &str, limit: usize) -> Self {
        Self::over(name, Limiter::fixed(limit, QueueBounds::default()))
    }

    /// [`fixed`](Self::fixed) for a number that is not known when the program is written.
    ///
    /// # Errors
    /// When `limit` is not in 1..=1 000 000.
    pub fn try_fixed(name: &str, limit: usize) -> Result<Self, OutOfRange> {
        Ok(Self::over(name, Limiter::try_fixed(limit, QueueBounds::default())?))
    }

    /// Admission with any algorithm: `with_limit(name, Adaptive::new(workers))` is
    /// [`adaptive`](Self::adaptive) with a number of workers that you choose.
    #[must_use]
    pub fn with_limit(name: &str, limit: impl Limit + 'static) -> Self {
        Self::over(name, Limiter::new(limit, QueueBounds::default()))
    }

    /// Admission by a limiter that other work shares, for example a job queue.
    #[must_use]
    pub fn over(name: &str, limiter: Limiter) -> Self {
        Self::of_kind(Kind::Admission, name, limiter)
    }

    pub(super) fn of_kind(kind: Kind, name: &str, limiter: Limiter) -> Self {
        let (switches, telemetry) = (Switches::default(), Telemetry::new(name));
        let handle = Handle::register(kind, &telemetry, limiter.clone(), switches.clone());
        let policy = Policy {
            limiter,
            rejection: Rejection::new(StatusCode::SERVICE_UNAVAILABLE),
            telemetry,
            response: ResponsePolicy::new(Side::Server),
            switches: switches.registered(handle.clone()),
            drains: Some(Drains::default()),
            delayed: DelayedRejection::default(),
            tickets: Some(ReturnTickets::new()),
            recheck: None,
        };
        Self { policy: Arc::new(policy), handle }
    }

    /// Bounds the queue; with [`QueueBounds::NONE`] a request is admitted at once or rejected.
    #[must_use]
    pub fn queue(self, bounds: QueueBounds) -> Self {
        self.policy.limiter.bound_queue(bounds);
        self
    }

    /// The status of a rejection: 503 or 429.
    ///
    /// A rejection that passes another layer of this crate further out becomes a 503 there: a 429
    /// says that the request was not begun, and the layer that admitted it cannot know that.
    ///
    /// # Panics
    /// When `status` is neither.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        let policy = self.edit();
        policy.rejection = policy.rejection.with_status(status);
        self
    }

    /// Until when a request counts as in flight.
    #[must_use]
    pub fn scope(mut self, scope: PermitScope) -> Self {
        self.edit().response.scope = scope;
        self
    }

    /// Whether a rejection tells the caller its reason. Without, it still says that the request was
    /// not begun.
    #[must_use]
    pub fn reveal_reason(mut self, reveal: bool) -> Self {
        let policy = self.edit();
        policy.rejection = policy.rejection.with_reason(reveal);
        self
    }

    /// Delays up to `max` rejections at once, each by the fraction of a second that `Retry-After`
    /// cannot say: a caller that should come back in 3.4 s is told 3 s after 0.4 s. Clients that obey
    /// to the letter then return one by one, and not in one crowd each second.
    ///
    /// It helps where many simple clients connect directly. A delayed rejection keeps its connection
    /// for up to a second, of which a proxy in front may have few, and a caller that would turn to
    /// another server learns later that it must.
    ///
    /// By default rejections are delayed in a flood only, when about twenty times as many requests
    /// arrive as can be served: up to 1024 at once, each by a second, which `Retry-After` then leaves
    /// out. That slows clients that retry immediately and leaves more to the others. 0 delays none at
    /// any time.
    ///
    /// A caller beyond `max` is answered at once, in seconds rounded up or down at random so that the
    /// mean is right; so is one that has waited in the queue, or whose [`Deadline`](crate::Deadline)
    /// would pass during the delay. gRPC callers are told milliseconds and are never delayed.
    ///
    /// ```
    /// # use tower_backpressure::AdmissionLayer;
    /// let layer = AdmissionLayer::adaptive("api").delay_rejections(10_000);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn delay_rejections(mut self, max: usize) -> Self {
        self.edit().delayed = DelayedRejection::always(max);
        self
    }

    /// The limiter inside, to observe it or to change its limit at run time.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.policy.limiter
    }

    /// The state at this moment. `in_flight` includes requests that hold no permit, because they are
    /// exempt or because a dry run would have rejected them.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.handle.snapshot()
    }

    /// The handle with which an operator observes and operates this layer; clones of the layer have the same.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The same layer with the options of a new one: the limiter, its handle and what is counted stay.
    #[cfg(feature = "policy")]
    pub(crate) fn with_default_options(&self) -> Self {
        let mut policy = Policy::clone(&self.policy);
        policy.rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE);
        policy.telemetry.observer = None;
        policy.telemetry.dry_run = false;
        policy.response = ResponsePolicy::new(Side::Server);
        policy.switches = policy.switches.with_default_options();
        policy.delayed = DelayedRejection::default();
        Self { policy: Arc::new(policy), handle: self.handle.clone() }
    }

    #[cfg(any(test, feature = "policy"))]
    pub(crate) const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    pub(super) fn edit(&mut self) -> &mut Policy {
        Arc::make_mut(&mut self.policy)
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admission::new(inner, Arc::clone(&self.policy))
    }
}
