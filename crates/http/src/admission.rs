//! Admission: a limit, a bounded queue, and a refusal that says when to come back.

use std::sync::Arc;

use backpressure_gate::{Arrival, Gate, Limit, OutOfRange, QueueBounds, Snapshot};
use http::{Request, StatusCode};
use tokio::time::Instant;
use tower_layer::Layer;

use crate::classify::{Classifier, Side};
use crate::deadline::Deadline;
use crate::drain::Drains;
use crate::observe::Observer;
use crate::rejection::{Rejection, Tickets};
use crate::switches::Switches;

mod ending;
mod future;
mod holding;
mod options;
mod service;

use ending::Ending;
use holding::Holding;

pub use future::ResponseFuture;
pub use service::Admission;

/// Lets in as many requests at once as the service can use, queues what will pass, and turns the
/// rest away early with a 503 that says when to come back.
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
/// All state lives in the layer value: every service it makes, on every route and connection,
/// shares one limit, and so does every clone of the layer.
///
/// | option | default | why |
/// |---|---|---|
/// | [`queue`](Self::queue) | 1024 requests, 1 s | holds a burst; it shortens itself under overload |
/// | [`min`](Self::min), [`max`](Self::max) | 1, 1 000 000 | an operator's bounds, whatever the limit finds |
/// | [`initial`](Self::initial) | the limit's own | it finds its way from there |
/// | [`status`](Self::status) | 503 | 429 blames the caller |
/// | [`scope`](Self::scope) | [`PermitScope::Body`] | a body in transfer holds memory |
/// | [`dry_run`](Self::dry_run) | false | turn it on to see what would be refused |
/// | [`exempt`](Self::exempt) | no request | health checks, metrics, a preflight `OPTIONS` |
/// | [`classify`](Self::classify) | by status | a failed dependency is no overload of this service |
/// | [`reveal_reason`](Self::reveal_reason) | true | turn it off towards strangers |
/// | [`hold_refusals`](Self::hold_refusals) | 1024, for a second, in a flood | asking again at once must not pay |
///
/// # What a refusal promises
/// The header [`SHED_REASON`](crate::SHED_REASON) on a refusal, and a [`Shed`](crate::Shed) in its
/// extensions, say that the request was not begun. A layer that has admitted a request takes both
/// off whatever comes from below: a handler may have run. So a refusal by a layer inside another
/// layer does not promise it; `RetryLayer` sends such a `GET` again, and no `POST`. A handler that
/// passes on an answer and has no layer of this crate around it must take the header off itself.
///
/// # Uploads that are refused
/// A client that sends a body often reads no answer before the body is sent, and a connection that is
/// closed meanwhile takes the refusal with it. So the body of a refused request is read and thrown
/// away while the answer goes out: for up to 5 s and 128 MiB, of at most 1024 requests and 1 GiB at
/// once. Over HTTP/1 the connection is kept after a body of up to 64 KiB and announced closed after a
/// larger one. Where request and response have bodies of one type, as between an axum router and its
/// layers and in tonic, this goes by itself. Elsewhere name the type of the request's body with
/// [`reads_refused`](Self::reads_refused): over hyper alone, or where another layer that changes the
/// response's body stands directly inside, as a [`BulkheadLayer`](crate::BulkheadLayer) in the same
/// `ServiceBuilder`. A body that is not read is announced closed with its connection.
///
/// # Once on a path
/// One layer value, or layers [over](Self::over) one gate, belong on the way of a request once. A second
/// pass takes a second place for the same request, and requests that hold the first can fill the limit for each
/// other until their time in the queue is over. Layers of their own may be nested.
///
/// # Priority and deadline
/// The queue honours a [`Priority`](crate::Priority) and a [`Deadline`] found in the request's
/// extensions; an outer layer puts them there.
///
/// # Errors
/// The service's own errors pass through. A refusal is a response, never an error.
///
/// # Cancellation
/// A request dropped at any point gives back its place in the queue or its permit.
#[derive(Clone, Debug)]
pub struct AdmissionLayer {
    shared: Arc<Shared>,
}

/// Until when a request counts as in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermitScope {
    /// Until the head of the response.
    Head,
    /// Until the last frame of the body, or until the body is dropped. A place stands for work: a
    /// reader that stops reading keeps the memory of its response and no capacity. Under an adaptive limit
    /// a body counts while the service works on its next frame, and a stream on which nothing happens counts
    /// apart after a while; under a fixed one after its reader has not read for five to ten seconds.
    #[default]
    Body,
}

/// What all services of one layer have in common.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) gate: Gate,
    pub(crate) rejection: Rejection,
    pub(crate) observer: Observer,
    pub(crate) switches: Switches,
    /// `None` at a client: the bodies it refuses are in this process.
    drains: Option<Drains>,
    ending: Ending,
    holding: Holding,
    /// Without them, requests that come back are no better than new ones.
    tickets: Option<Tickets>,
}

impl AdmissionLayer {
    /// Admission with a limit that finds itself; `name` labels its metrics and events.
    ///
    /// It counts on the worker threads of the current tokio runtime; made outside a runtime, on
    /// the available parallelism.
    #[must_use]
    pub fn adaptive(name: &str) -> Self {
        Self::over(name, Gate::adaptive())
    }

    /// Admission with a limit somebody chose.
    ///
    /// # Panics
    /// When `limit` is not in 1..=1 000 000.
    #[must_use]
    pub fn fixed(name: &str, limit: usize) -> Self {
        Self::over(name, Gate::fixed(limit, QueueBounds::default()))
    }

    /// The same with a number that is not known when the program is written.
    ///
    /// # Errors
    /// When `limit` is not in 1..=1 000 000.
    pub fn try_fixed(name: &str, limit: usize) -> Result<Self, OutOfRange> {
        Ok(Self::over(name, Gate::try_fixed(limit, QueueBounds::default())?))
    }

    /// Admission with any algorithm: `with_limit(name, Adaptive::new(workers))` is
    /// [`adaptive`](Self::adaptive) with a number of workers that you choose.
    #[must_use]
    pub fn with_limit(name: &str, limit: impl Limit + 'static) -> Self {
        Self::over(name, Gate::new(limit, QueueBounds::default()))
    }

    /// Admission by a gate that others enter too: a job queue, say.
    #[must_use]
    pub fn over(name: &str, gate: Gate) -> Self {
        let shared = Shared {
            gate,
            rejection: Rejection::new(StatusCode::SERVICE_UNAVAILABLE),
            observer: Observer::new(name),
            ending: Ending::new(Classifier::new(Side::Server), PermitScope::default()),
            switches: Switches::default(),
            drains: Some(Drains::default()),
            holding: Holding::default(),
            tickets: Some(Tickets::new()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Bounds the queue; [`QueueBounds::NONE`] admits at once or not at all.
    #[must_use]
    pub fn queue(self, bounds: QueueBounds) -> Self {
        self.shared.gate.bound_queue(bounds);
        self
    }

    /// The status of a refusal: 503 or 429.
    ///
    /// A refusal that comes from below another layer of this crate is a 503 there in any case: a 429
    /// says that the request was not begun, and the layer that admitted it cannot know that.
    ///
    /// # Panics
    /// When `status` is neither.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        shared.rejection = shared.rejection.with_status(status);
        self
    }

    /// Until when a request counts as in flight.
    #[must_use]
    pub fn scope(mut self, scope: PermitScope) -> Self {
        Arc::make_mut(&mut self.shared).ending.scope = scope;
        self
    }

    /// Whether a refusal names its reason to the caller. Without, it still says that the request
    /// was not begun.
    #[must_use]
    pub fn reveal_reason(mut self, reveal: bool) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        shared.rejection = shared.rejection.with_reason(reveal);
        self
    }

    /// Holds up to `most` refusals at once, each for the fraction of a second that `Retry-After`
    /// cannot say: whoever is to come back in 3.4 s hears of it after 0.4 s, and that it is 3 s.
    /// Callers who obey to the letter return one by one then, and not in one crowd each second.
    ///
    /// It pays where crowds of simple clients come directly. A held refusal keeps its connection for up
    /// to a second, which a proxy in front may have few of, and a caller who would ask somebody else
    /// instead hears later that it must.
    ///
    /// By default refusals are held in a flood only, when about twenty times as many come as could be
    /// served: up to 1024 at once, each for a second, which `Retry-After` then leaves out. A
    /// caller that asks again at once is slowed down by that, and leaves more to the others. 0 holds
    /// none at any time.
    ///
    /// Who finds `most` held is answered at once, in seconds rounded up or down at random so that
    /// the mean is right; so is who has waited in the queue, or would be held past its
    /// [`Deadline`]. gRPC is told milliseconds and never held. A caller that hangs up gives its
    /// place back.
    ///
    /// ```
    /// # use tower_backpressure::AdmissionLayer;
    /// let layer = AdmissionLayer::adaptive("api").hold_refusals(10_000);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn hold_refusals(mut self, most: usize) -> Self {
        Arc::make_mut(&mut self.shared).holding = Holding::up_to(most);
        self
    }

    /// The gate inside: to look at it, or to change its limit while it runs.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// The state of this moment. Requests that run without a place, as they are exempt or a dry run
    /// would have refused them, are in flight here; the limit does not count them.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.shared.gate.snapshot();
        snapshot.in_flight += self.shared.switches.count();
        snapshot
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admission::new(inner, Arc::clone(&self.shared))
    }
}

impl Shared {
    /// What stands in front of a server at the client's end.
    pub(crate) fn outbound(
        gate: Gate,
        rejection: Rejection,
        observer: Observer,
        scope: PermitScope,
        classifier: Classifier,
        switches: Switches,
    ) -> Self {
        let holding = Holding::default();
        let ending = Ending::new(classifier, scope);
        Self { gate, rejection, observer, switches, drains: None, ending, holding, tickets: None }
    }

    /// What the queue needs to know of a request. Takes its ticket, if it has one.
    pub(crate) fn arrival<B>(&self, request: &Request<B>, now: Instant) -> Arrival {
        let extensions = request.extensions();
        let tickets = self.tickets.as_ref();
        let arrival = Arrival {
            priority: extensions.get().copied().unwrap_or_default(),
            returning: tickets.is_some_and(|tickets| tickets.take(request.headers(), now)),
            ..Arrival::default()
        };
        match extensions.get() {
            Some(&Deadline(at)) => arrival.deadline(self.gate.timestamp(at)),
            None => arrival,
        }
    }
}
