//! A concurrency limit for each origin that a client talks to.

use std::any::Any;
use std::sync::{Arc, OnceLock, Weak};

use backpressure_core::{ClientLimit, Outcome, QueueBounds};
use http::{Request, StatusCode, Uri, request, response};
use tower_layer::Layer;

use crate::admission::classify::Side;
use crate::admission::delayed_rejection::DelayedRejection;
use crate::admission::rejection::Rejection;
use crate::admission::response_policy::ResponsePolicy;
use crate::admission::switches::Switches;
use crate::admission::{Limited, PermitScope, Policy, Recheck, SelectPolicy};
use crate::client::cooldown::CooldownLayer;
use crate::client::origin_key::OriginKey;
use crate::client::origin_map::OriginMap;
use crate::limiter::Limiter;
use crate::observe::{Kind, LimiterReport, Part, PartReport, Registry, Report, Telemetry, next_id};

mod known;
#[cfg(feature = "reqwest")]
mod reqwest;

pub(super) use self::known::{KnownLimit, RunningHandler};

#[cfg(feature = "reqwest")]
pub use self::reqwest::ReqwestFuture;

/// Keeps no more requests in flight to a server than the server can use. The others wait here or are
/// rejected here, and cost the server nothing.
///
/// Each origin (scheme, host and port) has a limiter of its own whose limit adapts. The layer goes over
/// any client that is a `Service` of [`http::Request`]s, such as hyper-util's or a tonic channel, and
/// with feature `reqwest` over `reqwest::Client`.
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
/// # Position in the stack
///
/// Inside [`RetryLayer`](crate::RetryLayer), so that each attempt is admitted and measured, and no permit
/// is held between attempts. Outside a timeout for single attempts, so that the timeout does not include
/// the time in the queue.
///
/// # Rejections
///
/// A request beyond the limit waits in the queue of its origin. A request that finds the queue full, or
/// has waited for as long as a wait is worthwhile, gets a 503 at once, with a `Retry-After` from the
/// schedule and [`SHED_REASON`](crate::SHED_REASON). It was not sent, and `RetryLayer` repeats it whatever
/// its method. The server's own responses and their marks pass unchanged; a rejection by a
/// layer of this crate further in, in this process, loses its marks. A rejection made here has a
/// [`Shed`](crate::Shed) in its extensions:
///
/// ```
/// use tower_backpressure::Shed;
///
/// fn was_not_sent<B>(response: &http::Response<B>) -> bool {
///     response.extensions().get::<Shed>().is_some()
/// }
/// # assert!(!was_not_sent(&http::Response::new(())));
/// ```
///
/// A [`Priority`](crate::Priority) and a [`Deadline`](crate::Deadline) in the extensions of a request
/// are honoured in the queue, and over reqwest the timeout and the [`CRITICALITY`](crate::CRITICALITY) of a request.
///
/// # What the limit learns from
///
/// [`ClientLimit`] learns from the time to the head of a response, by experiment, and from pushback: a 429
/// or 503, or `RESOURCE_EXHAUSTED` or `UNAVAILABLE` in gRPC. Where more than a tenth of the responses
/// are pushback, the limit falls as far as that reduces their share. An error, a time-out (408, 504,
/// `DEADLINE_EXCEEDED`) or any other failure says nothing about capacity, as it may have come fast. An
/// [`Outcome`] in the extensions of a response takes precedence over its status, and
/// [`classify`](Self::classify) takes a rule of your own.
///
/// # Origins
///
/// The URI's authority names the origin, or else the `Host` field; user names and default ports are
/// ignored. Requests without either share one limiter, since the client inside can send all of them to one
/// server only.
///
/// Where reqwest has followed a redirection to another origin, the origin that was asked has answered, whatever the other
/// one said. So it is for [`CooldownLayer`], [`BreakerLayer`](crate::BreakerLayer) and
/// [`ThrottleLayer`](crate::ThrottleLayer), unless a `key` of the user's names what shares a state. To limit the other
/// origin as well, turn redirections off in reqwest and send the second request through the layers.
///
/// An idle origin is forgotten when 1024 others have been used since; when it is used again, its limit
/// starts anew. An origin with requests in the queue or in flight is never forgotten.
///
/// # Options
///
/// | option | default | why |
/// |---|---|---|
/// | [`queue`](Self::queue) | 16 384 requests, 1 s, for each origin, of which as many as run in that time, or 1024 | absorbs a burst; it shortens itself under overload |
/// | [`classify`](Self::classify) | by status | see above |
/// | [`dry_run`](Self::dry_run) | false | turn it on to see what would be held back |
/// | [`exempt`](Self::exempt) | no request | health probes must reach a busy server |
/// | [`scope`](Self::scope) | [`PermitScope::Body`] | the server works on a response until the end of its body |
///
/// All state lives in the layer: its services, their clones and its own clones share the limiters. Setting
/// an option makes new limiters: set options before cloning.
///
/// # Metrics and events
///
/// Those of `AdmissionLayer`, summed over all origins. `backpressure_limit` is absent, as each origin has a
/// limit of its own; [`limiter`](Self::limiter) returns it. Events name the origin.
///
/// # Errors
///
/// The client's own errors pass through. A rejection is a response, never an error.
///
/// # Cancellation
///
/// A request that is dropped at any point leaves the queue or releases its permit.
#[derive(Clone, Debug)]
pub struct OriginLimitLayer {
    origins: Arc<Origins>,
}

/// The service of [`OriginLimitLayer`].
pub type OriginLimit<S> = Limited<S, Arc<Origins>>;

/// What all services of one layer share.
#[derive(Debug)]
pub struct Origins {
    settings: Settings,
    origin_map: OriginMap<Policy>,
    id: u64,
}

/// What the policy of a new origin is made from.
#[derive(Clone, Debug)]
struct Settings {
    queue: QueueBounds,
    response: ResponsePolicy,
    switches: Switches,
    rejection: Rejection,
    telemetry: Telemetry,
    cooldown: Arc<OnceLock<CooldownLayer>>,
}

impl OriginLimitLayer {
    /// A limit for each origin; `name` labels the metrics and events of all of them together.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::of(Settings {
            queue: QueueBounds::default(),
            response: ResponsePolicy::new(Side::Client),
            switches: Switches::default(),
            rejection: Rejection::new(StatusCode::SERVICE_UNAVAILABLE).at_client(),
            telemetry: Telemetry::new(name),
            cooldown: Arc::default(),
        })
    }

    /// Honours the cool-downs of a [`CooldownLayer`] around this layer: a request that waits for a permit when
    /// a cool-down of its origin begins is not sent when it gets one, and rejected with the time that is left.
    /// Cool-downs by a [`key`](CooldownLayer::key) do not count.
    #[must_use]
    pub fn cooldown(self, cooldown: &CooldownLayer) -> Self {
        let settings = Settings { cooldown: Arc::default(), ..self.origins.settings.clone() };
        let layer = Self::of(settings);
        layer.link(cooldown);
        layer
    }

    /// The same for this layer with its limiters, unless it honours the cool-downs of another.
    pub(super) fn link(&self, cooldown: &CooldownLayer) {
        self.origins.settings.cooldown.get_or_init(|| cooldown.clone());
    }

    /// Bounds the queue of each origin; with [`QueueBounds::NONE`] a request is sent at once or rejected.
    #[must_use]
    pub fn queue(self, bounds: QueueBounds) -> Self {
        Self::of(Settings { queue: bounds, ..self.origins.settings.clone() })
    }

    /// Until when a request counts as in flight. With [`PermitScope::Head`] no body holds a permit.
    ///
    /// With [`PermitScope::Body`] a body counts towards the limit while the caller waits for its next part.
    /// Bodies that the caller does not read hold back none of the caller's other requests for long.
    #[must_use]
    pub fn scope(self, scope: PermitScope) -> Self {
        let mut settings = self.origins.settings.clone();
        settings.response.scope = scope;
        Self::of(settings)
    }

    /// What a response teaches the limit of its origin; `None` leaves it to the defaults: those of
    /// `AdmissionLayer::classify`, except that 429 and 503 are pushback.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_backpressure::{Outcome, OriginLimitLayer};
    ///
    /// // GitHub responds with 403 to clients that send too many requests.
    /// let limits = OriginLimitLayer::new("github").classify(|head| {
    ///     let forbidden = head.status == StatusCode::FORBIDDEN;
    ///     (forbidden && head.headers.contains_key("retry-after")).then_some(Outcome::Overload)
    /// });
    /// # let _ = limits;
    /// ```
    #[must_use]
    pub fn classify(
        self,
        rule: impl Fn(&response::Parts) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        let mut settings = self.origins.settings.clone();
        settings.response.classifier = settings.response.classifier.with_rule(rule);
        Self::of(settings)
    }

    /// Decides, counts and reports, but sends every request at once: none waits, none is rejected.
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Self {
        let mut settings = self.origins.settings.clone();
        settings.switches.dry_run = dry_run;
        settings.telemetry.dry_run = dry_run;
        Self::of(settings)
    }

    /// Requests that are sent whatever the limit says, and hold no permit.
    #[must_use]
    pub fn exempt(
        self,
        predicate: impl Fn(&request::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        let mut settings = self.origins.settings.clone();
        settings.switches = settings.switches.exempting(predicate);
        Self::of(settings)
    }

    /// The limiter of an origin: its limit and the reason for it, requests in flight and in the queue.
    /// `None` when the origin has not been used lately.
    ///
    /// ```
    /// use http::Uri;
    /// use tower_backpressure::OriginLimitLayer;
    ///
    /// let limits = OriginLimitLayer::new("search");
    /// assert!(limits.limiter(&Uri::from_static("http://search.internal")).is_none());
    /// ```
    #[must_use]
    pub fn limiter(&self, origin: &Uri) -> Option<Limiter> {
        let policy = self.origins.origin_map.get(OriginKey::of_uri(origin))?;
        Some(policy.limiter.clone())
    }

    fn of(settings: Settings) -> Self {
        let origins = Arc::new(Origins { settings, origin_map: OriginMap::new(), id: next_id() });
        let part: Weak<Origins> = Arc::downgrade(&origins);
        Registry::global().add(origins.id, part);
        Self { origins }
    }
}

impl<S> Layer<S> for OriginLimitLayer {
    type Service = OriginLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OriginLimit::new(inner, Arc::clone(&self.origins))
    }
}

impl SelectPolicy for Arc<Origins> {
    type Selected<'a> = Arc<Policy>;

    fn select<B>(&self, request: &Request<B>) -> Arc<Policy> {
        self.policy(OriginKey::of(request))
    }
}

impl Origins {
    /// The policy of an origin. An origin is not forgotten while its policy is in use.
    fn policy(&self, origin: OriginKey<'_>) -> Arc<Policy> {
        self.origin_map.get_or_insert(origin, |name| self.settings.policy(name))
    }
}

impl Part for Origins {
    fn report(&self) -> Report {
        let Settings { telemetry, switches, .. } = &self.settings;
        let mut report = Report::new(self.id, Arc::clone(telemetry.policy()), Kind::OriginLimit);
        report.dry_run = switches.is_dry_run();
        telemetry.stats().fill(&mut report);
        let (recent, count) = self.origin_map.recent(EXAMINED);
        let part = |(name, policy): (Arc<str>, Arc<Policy>)| {
            let mut part = PartReport::new(&name);
            part.limiter = Some(LimiterReport::of(&policy.limiter, 0, 0));
            part
        };
        report.set_parts(recent.into_iter().map(part).collect(), count);
        report
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The number of most recently used origins among which the registry looks for those with the most requests.
const EXAMINED: usize = 4 * Report::MAX_PARTS;

impl Settings {
    #[cold]
    fn policy(&self, origin: &str) -> Policy {
        Policy {
            limiter: Limiter::new(ClientLimit::new(), self.queue),
            rejection: self.rejection.clone(),
            telemetry: self.telemetry.of_origin(origin),
            switches: self.switches.clone(),
            response: self.response.clone(),
            delayed: DelayedRejection::default(),
            drains: None,
            tickets: None,
            recheck: self.cooldown.get().cloned().map(|cooldown| {
                let origin = origin.to_owned();
                Recheck(Arc::new(move || cooldown.shed(&origin)))
            }),
        }
    }
}
