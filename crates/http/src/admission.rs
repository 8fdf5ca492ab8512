//! Admission: a limit, a bounded queue, and a refusal that says when to come back.

use std::sync::Arc;

use backpressure_gate::{Arrival, Gate, Limit, OutOfRange, Outcome, QueueBounds, Snapshot};
use http::response::Parts;
use http::{Request, StatusCode};
use tokio::time::Instant;
use tower_layer::Layer;

use crate::classify::{Classifier, Side};
use crate::deadline::Deadline;
use crate::observe::Observer;
use crate::rejection::{Rejection, Tickets};

mod ending;
mod future;
mod holding;
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
/// | [`classify`](Self::classify) | by status | a failed dependency is no overload of this service |
/// | [`reveal_reason`](Self::reveal_reason) | true | turn it off towards strangers |
/// | [`hold_refusals`](Self::hold_refusals) | 1024, for a second, in a flood | asking again at once must not pay |
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
    /// Until the last frame of the body, or until the body is dropped. Event streams
    /// (`text/event-stream`) count to their head only under an adaptive limit: they last as long
    /// as somebody looks, and would fill it without doing any work.
    #[default]
    Body,
}

/// What all services of one layer have in common.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) gate: Gate,
    pub(crate) rejection: Rejection,
    pub(crate) observer: Observer,
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
            holding: Holding::default(),
            tickets: Some(Tickets::new()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Lets the limit fall no lower than this. For the day on which the measurements mislead it: at
    /// `min` it still bounds the memory in use, and a wrong limit cannot take the service down.
    ///
    /// ```
    /// use tower_backpressure::AdmissionLayer;
    ///
    /// let layer = AdmissionLayer::adaptive("api").min(4).max(2_000).initial(64);
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    /// When `min` is not in 1..=`max`.
    #[must_use]
    pub fn min(self, min: usize) -> Self {
        let (_, max) = self.shared.gate.limit_bounds();
        check("min", min, 1, max);
        self.shared.gate.bound_limit(min, max);
        self
    }

    /// Lets the limit rise no higher than this: what memory or a dependency can bear.
    ///
    /// # Panics
    /// When `max` is not in `min`..=1 000 000.
    #[must_use]
    pub fn max(self, max: usize) -> Self {
        let (min, _) = self.shared.gate.limit_bounds();
        check("max", max, min, MOST);
        self.shared.gate.bound_limit(min, max);
        self
    }

    /// Starts an adaptive limit from this number instead of its own first guess: one that an earlier
    /// run found, say. A limit without a state, such as [`Fixed`](crate::Fixed), does not heed it.
    ///
    /// # Panics
    /// When `initial` is not in `min`..=`max`.
    #[must_use]
    pub fn initial(self, initial: usize) -> Self {
        let (min, max) = self.shared.gate.limit_bounds();
        check("initial", initial, min, max);
        self.shared.gate.start_limit_at(initial);
        self
    }

    /// Bounds the queue; [`QueueBounds::NONE`] admits at once or not at all.
    #[must_use]
    pub fn queue(self, bounds: QueueBounds) -> Self {
        self.shared.gate.bound_queue(bounds);
        self
    }

    /// The status of a refusal: 503 or 429.
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

    /// Says what a response teaches the limit, where the defaults would be wrong; `None` leaves a
    /// response to them.
    ///
    /// | response | default |
    /// |---|---|
    /// | an [`Outcome`] in its extensions | that outcome, before any rule |
    /// | a refusal by a layer of this crate further in | [`Outcome::Ignore`] |
    /// | 408, 429, 499, any 5xx; an error | [`Outcome::Failure`] |
    /// | gRPC status 0, 3, 5, 6, 7, 9, 11, 12, 16 | [`Outcome::Success`] |
    /// | any other gRPC status | [`Outcome::Failure`] |
    /// | anything else | [`Outcome::Success`] |
    ///
    /// A 503 of a handler is no [`Outcome::Overload`] by default: it may come from one dead replica
    /// of a dependency, and a lower limit would not mend that. Where a status does mean that the
    /// service itself has too much to do, say so:
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_backpressure::{AdmissionLayer, Outcome};
    ///
    /// let layer = AdmissionLayer::adaptive("api").classify(|head| {
    ///     let overloaded = head.status == StatusCode::INSUFFICIENT_STORAGE;
    ///     overloaded.then_some(Outcome::Overload)
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn classify(
        mut self,
        rule: impl Fn(&Parts) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        let ending = &mut Arc::make_mut(&mut self.shared).ending;
        ending.classifier = ending.classifier.with_rule(rule);
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

    /// The state of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.gate.snapshot()
    }
}

/// The highest limit there is.
const MOST: usize = 1_000_000;

/// # Panics
/// When `number` is not in `min..=max`.
fn check(option: &'static str, number: usize, min: usize, max: usize) {
    if let Err(error) = OutOfRange::check(option, number, min, max) {
        panic!("{error}");
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
    ) -> Self {
        let holding = Holding::default();
        let ending = Ending::new(classifier, scope);
        Self { gate, rejection, observer, ending, holding, tickets: None }
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
