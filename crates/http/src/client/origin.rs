//! A limit for each origin a client talks to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backpressure_gate::{Gate, Outcome, QueueBounds, Remote};
use http::{StatusCode, Uri, request, response};
use tower_layer::Layer;

use crate::admission::{PermitScope, Shared};
use crate::classify::{Classifier, Side};
use crate::observe::Observer;
use crate::rejection::Rejection;
use crate::switches::Switches;

mod known;
mod name;
#[cfg(feature = "reqwest")]
mod reqwest;
mod service;

use self::known::Known;
use self::name::Origin;

#[cfg(feature = "reqwest")]
pub use self::reqwest::ReqwestFuture;
pub use self::service::OriginLimit;

/// Has no more in flight to a server than the server can use: the rest waits here, or is turned away
/// here, and never costs the server anything.
///
/// Each origin (scheme, host and port) has a gate of its own with a limit that finds itself. Goes over
/// any client that is a `Service` of [`http::Request`]s, such as hyper-util's or a tonic channel,
/// and with feature `reqwest` over `reqwest::Client`.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceBuilder;
/// use tower_backpressure::{OriginLimitLayer, RetryLayer};
///
/// let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::named("search"))
///     .layer(OriginLimitLayer::new("search"))
///     .service(hyper);
/// # let _ = client;
/// ```
///
/// # Where it stands
///
/// Inside [`RetryLayer`](crate::RetryLayer), so that each attempt is admitted and measured, and a
/// pause holds no place; outside a timeout for single attempts, so that the wait for a place is not
/// taken for the server's.
///
/// # What is refused
///
/// Over the limit a request waits, in a line for its origin alone. Who finds it full, or has waited for
/// as long as that makes sense, gets a response at once, a 503 with a truthful `Retry-After` and
/// [`SHED_REASON`](crate::SHED_REASON); nothing was sent. `RetryLayer` sends it again then, whatever
/// the method. The server's own answers pass untouched, and its marker with them; a refusal by a layer
/// of this crate further in, in this process, loses it. What tells a refusal made here apart is a
/// [`Shed`](crate::Shed) in the extensions of a refusal made here:
///
/// ```
/// use tower_backpressure::Shed;
///
/// fn never_left<B>(response: &http::Response<B>) -> bool {
///     response.extensions().get::<Shed>().is_some()
/// }
/// # assert!(!never_left(&http::Response::new(())));
/// ```
///
/// A [`Priority`](crate::Priority) and a [`Deadline`](crate::Deadline) in the extensions of a request
/// are honoured in the line; a `reqwest::Request` has no room for them.
///
/// # What it learns from
///
/// [`Remote`]: from the time to the head of an answer, by experiment, and from what the
/// server refuses. A 429 or 503, or `RESOURCE_EXHAUSTED` or `UNAVAILABLE` in gRPC, is pushback, and
/// where more than a tenth of the answers are, the limit comes down as far as that makes them fewer. An error, a time-out (408,
/// 504, `DEADLINE_EXCEEDED`) or any other failure of the server says nothing about capacity: it may
/// have come fast. An [`Outcome`] in the extensions of an answer is believed before its status, and
/// [`classify`](Self::classify) takes a rule of your own.
///
/// # Whose limit counts
///
/// The URI's authority names the origin, or else the `Host` field; user names do not matter, nor does
/// a port that goes without saying. Requests without either share one gate: the client below sends
/// them all to the same place, as there is nothing in them to choose by.
///
/// An idle origin is forgotten when 1024 others were used since, and starts anew when it returns. One with
/// requests waiting or in flight is never forgotten.
///
/// # Options
///
/// | option | default | why |
/// |---|---|---|
/// | [`queue`](Self::queue) | 1024 requests, 1 s, for each origin | holds a burst; it shortens itself under overload |
/// | [`classify`](Self::classify) | by status | see above |
/// | [`dry_run`](Self::dry_run) | false | turn it on to see what would be held back |
/// | [`exempt`](Self::exempt) | no request | probes |
/// | [`scope`](Self::scope) | [`PermitScope::Body`] | a server is not done with a request before its body is |
///
/// All state lives in the layer: its services, their clones and its own share their gates. An option
/// begins with new ones: choose before you clone.
///
/// # Metrics and events
///
/// Those of [`AdmissionLayer`](crate::AdmissionLayer), summed over all origins, but
/// `backpressure_limit`, of which there is one for each; [`gate`](Self::gate) tells. Events name the
/// origin.
///
/// # Errors
///
/// The client's own errors pass through. A refusal is a response, never an error.
///
/// # Cancellation
///
/// A request dropped at any point gives back its place in the line or in flight.
#[derive(Clone, Debug)]
pub struct OriginLimitLayer {
    origins: Arc<Origins>,
}

/// What all services of one layer have in common.
#[derive(Debug)]
struct Origins {
    settings: Settings,
    known: Mutex<Known>,
}

/// What a new gate is made with.
#[derive(Clone, Debug)]
struct Settings {
    queue: QueueBounds,
    scope: PermitScope,
    classifier: Classifier,
    switches: Switches,
    rejection: Rejection,
    observer: Observer,
}

impl OriginLimitLayer {
    /// A limit for each origin; `name` labels the metrics and events of all of them together.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::of(Settings {
            queue: QueueBounds::default(),
            scope: PermitScope::default(),
            classifier: Classifier::new(Side::Client),
            switches: Switches::default(),
            rejection: Rejection::new(StatusCode::SERVICE_UNAVAILABLE),
            observer: Observer::new(name),
        })
    }

    /// Bounds the line in front of each origin; [`QueueBounds::NONE`] sends at once or not at all.
    #[must_use]
    pub fn queue(self, bounds: QueueBounds) -> Self {
        Self::of(Settings { queue: bounds, ..self.origins.settings.clone() })
    }

    /// Until when a request counts as in flight. With [`PermitScope::Head`] whoever reads slowly
    /// leaves room for others, as far as the server has any.
    #[must_use]
    pub fn scope(self, scope: PermitScope) -> Self {
        Self::of(Settings { scope, ..self.origins.settings.clone() })
    }

    /// Says what an answer teaches the limit of its origin; `None` leaves it to the defaults, which are
    /// those of [`AdmissionLayer::classify`](crate::AdmissionLayer::classify) but for pushback.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_backpressure::{Outcome, OriginLimitLayer};
    ///
    /// // GitHub answers 403 to clients that ask too often.
    /// let limits = OriginLimitLayer::new("github").classify(|head| {
    ///     let refused = head.status == StatusCode::FORBIDDEN;
    ///     (refused && head.headers.contains_key("retry-after")).then_some(Outcome::Overload)
    /// });
    /// # let _ = limits;
    /// ```
    #[must_use]
    pub fn classify(
        self,
        rule: impl Fn(&response::Parts) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        let classifier = self.origins.settings.classifier.with_rule(rule);
        Self::of(Settings { classifier, ..self.origins.settings.clone() })
    }

    /// Decides, counts and reports, and sends every request at once: nothing waits here, nothing is
    /// refused here. See [`AdmissionLayer::dry_run`](crate::AdmissionLayer::dry_run).
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Self {
        let mut settings = self.origins.settings.clone();
        settings.switches.dry_run = dry_run;
        settings.observer.dry_run = dry_run;
        Self::of(settings)
    }

    /// Requests that are sent whatever the limit says, and take no place of it. See
    /// [`AdmissionLayer::exempt`](crate::AdmissionLayer::exempt).
    #[must_use]
    pub fn exempt(
        self,
        predicate: impl Fn(&request::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        let settings = self.origins.settings.clone();
        let switches = settings.switches.exempting(predicate);
        Self::of(Settings { switches, ..self.origins.settings.clone() })
    }

    /// The gate in front of an origin, to look at: what its limit is and why, how many are in flight
    /// and wait. `None`: it was not talked to of late.
    ///
    /// ```
    /// use http::Uri;
    /// use tower_backpressure::OriginLimitLayer;
    ///
    /// let limits = OriginLimitLayer::new("search");
    /// assert!(limits.gate(&Uri::from_static("http://search.internal")).is_none());
    /// ```
    #[must_use]
    pub fn gate(&self, origin: &Uri) -> Option<Gate> {
        self.origins.known().look(Origin::of_uri(origin)).map(|shared| shared.gate.clone())
    }

    fn of(settings: Settings) -> Self {
        Self { origins: Arc::new(Origins { settings, known: Mutex::default() }) }
    }
}

impl<S> Layer<S> for OriginLimitLayer {
    type Service = OriginLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OriginLimit::new(inner, Arc::clone(&self.origins))
    }
}

impl Origins {
    /// What stands in front of an origin. Held until the request is in or waits: as long as somebody
    /// has it, it is not forgotten.
    fn at(&self, origin: Origin<'_>) -> Arc<Shared> {
        self.known().find(origin, |name| self.settings.build(name))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settings {
    #[cold]
    fn build(&self, origin: &str) -> Shared {
        let gate = Gate::new(Remote::new(), self.queue);
        let observer = self.observer.of_origin(origin);
        let (classifier, switches) = (self.classifier.clone(), self.switches.clone());
        Shared::outbound(gate, self.rejection.clone(), observer, self.scope, classifier, switches)
    }
}
