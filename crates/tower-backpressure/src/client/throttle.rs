//! The throttle layer: rejects in the client a share of what the origin would reject anyway.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backpressure_core::{Outcome, Pass, Priority, Reason, ThrottleSettings, Timestamp};
use fastrand::Rng;
use http::{Uri, request, response};
use tower_layer::Layer;

use crate::client::jitter::Jitter;
use crate::client::supervised::{
    Ended, Hold, How, Shared, Supervised, Supervision, Transition, Verdict,
};
use crate::client::valid::{self, require};
use crate::headers::retry_after::RetryAfter;
use crate::keyed_map::Idle;
use crate::observe::{Kind, PartReport};

/// Rejects a share of the requests in the client once the origin rejects most of them.
///
/// The rule is that of Google's SRE book (chapter 21): a request is rejected with probability
/// `max(0, (requests − K · accepts) / (requests + 1))`, by the counts of its own
/// [`Priority`](crate::Priority). A server that has to reject ten requests for each that it serves spends most
/// of its time on rejections; with K = 2 it has to reject about one.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceBuilder;
/// use tower_backpressure::{RetryLayer, ThrottleLayer};
///
/// let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::named("search"))
///     .layer(ThrottleLayer::new("search"))
///     .service(hyper);
/// # let _ = client;
/// ```
///
/// # Do you need it?
///
/// [`OriginLimitLayer`](crate::OriginLimitLayer) does the same by finding out how many requests the server can
/// use, and lets others wait. A throttle is for servers that reject by rate, or by priority, and for fleets of
/// clients with few requests each.
///
/// # Position in the stack
///
/// Inside [`RetryLayer`](crate::RetryLayer), so that it counts attempts.
///
/// # What counts
///
/// An attempt counts when it ends. The origin rejected it if the response is a 429 or 503,
/// `RESOURCE_EXHAUSTED` or `UNAVAILABLE` in gRPC, or if there is none but an error; it accepted it if there is
/// any other response, a failure included. An attempt that the caller leaves does not count. An [`Outcome`]
/// in the extensions of a response takes precedence, and [`classify`](Self::classify) takes a rule of your own:
/// [`Outcome::Overload`] is a rejection, [`Outcome::Ignore`] does not count, and any other is accepted.
///
/// A rejection is a 503 with `Retry-After: 1` and [`SHED_REASON`](crate::SHED_REASON) `throttle`. It was not
/// sent, so that `RetryLayer` may repeat it whatever its method, within its budget.
///
/// # Options
///
/// | option | default | why |
/// |---|---|---|
/// | [`k`](Self::k) | 2 | the origin may reject half of its requests: it is busy, and an origin of which a part fails is used as before |
/// | [`window`](Self::window) | 2 s | an origin that is back is used again after about twice as long; in the book it is two minutes |
/// | [`min_requests`](Self::min_requests) | 20 in the window | a quiet client is never throttled |
/// | [`max_rejected`](Self::max_rejected) | 0.9 | the rest finds out when the origin accepts again |
/// | [`key`](Self::key) | the origin | where one origin has parts that reject alone |
/// | [`classify`](Self::classify) | see above | |
/// | [`dry_run`](Self::dry_run) | false | turn it on to see what would be rejected |
/// | [`seed`](Self::seed) | random | tests only |
///
/// All state lives in the layer: its services, their clones and its own clones share it. Setting an option
/// makes a new layer without state: set options before cloning. At most 1024 origins that no request uses are
/// kept, the most recently used ones.
///
/// # Metrics
///
/// `backpressure_requests_total` with `result` = `admitted`, `shed` or `would_reject` and `reason` = `throttle`.
///
/// # Errors
///
/// The client's own errors pass through. A rejection is a response, never an error.
#[derive(Clone, Debug)]
pub struct ThrottleLayer {
    shared: Arc<Shared<OriginThrottle>>,
}

/// The service of [`ThrottleLayer`].
pub type Throttle<S> = Supervised<S, OriginThrottle>;

/// The options of the layer that its decisions need.
#[derive(Clone)]
pub struct Options {
    settings: ThrottleSettings,
    random: Jitter,
}

impl ThrottleLayer {
    /// A throttle for each origin; `name` labels the metrics of all of them together.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let random = Jitter::new(Rng::new());
        let options = Options { settings: ThrottleSettings::default(), random };
        let no_hold = Hold { max_held: 0, max_wait: Duration::ZERO };
        Self { shared: Shared::new(name, options, no_hold) }
    }

    /// How many requests there may be for each accepted one.
    ///
    /// # Panics
    /// When `k` is not in 1.0..=1000.0.
    #[must_use]
    pub fn k(self, k: f64) -> Self {
        require(valid::k(k), k);
        self.edit(|options| options.settings.k = k)
    }

    /// The time constant with which requests are forgotten.
    ///
    /// # Panics
    /// When `window` is zero.
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        require(valid::longer_than_zero("window", window), "zero");
        self.edit(|options| options.settings.window = window)
    }

    /// The requests in the window below which none is rejected.
    #[must_use]
    pub fn min_requests(self, min_requests: u32) -> Self {
        self.edit(|options| options.settings.min_requests = f64::from(min_requests))
    }

    /// The largest share that is rejected.
    ///
    /// # Panics
    /// When `max_rejected` is not in 0.0..=0.99.
    #[must_use]
    pub fn max_rejected(self, max_rejected: f64) -> Self {
        require(valid::max_rejected(max_rejected), max_rejected);
        self.edit(|options| options.settings.max_rejected = max_rejected)
    }

    /// What is counted together, in place of the origin; `None` leaves a request to its origin.
    #[must_use]
    pub fn key(
        self,
        rule: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { shared: self.shared.with_key(rule) }
    }

    /// Whether the origin accepted a request; `None` leaves it to the defaults.
    #[must_use]
    pub fn classify(
        self,
        rule: impl Fn(&response::Parts) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        Self { shared: self.shared.with_classifier(rule) }
    }

    /// Decides, counts and reports, but sends every request.
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Self {
        Self { shared: self.shared.with_dry_run(dry_run) }
    }

    /// Makes the decisions repeatable, for tests.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        let random = Jitter::new(Rng::with_seed(seed));
        self.edit(|options| options.random = random)
    }

    /// The share of the requests of this priority to this origin that is rejected now; zero when it was not
    /// used lately.
    ///
    /// ```
    /// use http::Uri;
    /// use tower_backpressure::{Priority, ThrottleLayer};
    ///
    /// let throttle = ThrottleLayer::new("search");
    /// let origin = Uri::from_static("http://search.internal");
    /// assert_eq!(throttle.rejected_share(&origin, Priority::Normal), 0.0);
    /// ```
    #[must_use]
    pub fn rejected_share(&self, origin: &Uri, priority: Priority) -> f64 {
        let now = self.shared.now();
        self.shared
            .known(origin)
            .map_or(0.0, |origin| origin.state.lock().rejected_share(priority, now))
    }

    fn edit(self, edit: impl FnOnce(&mut Options)) -> Self {
        Self { shared: self.shared.with(|options, _| edit(options)) }
    }
}

impl<S> Layer<S> for ThrottleLayer {
    type Service = Throttle<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Supervised::new(inner, Arc::clone(&self.shared))
    }
}

/// The throttle of one origin.
#[derive(Debug)]
pub struct OriginThrottle(Mutex<backpressure_core::Throttle>);

impl Supervision for OriginThrottle {
    type Options = Options;

    const REASON: Reason = Reason::Throttle;

    const KIND: Kind = Kind::Throttle;

    fn new(options: &Options) -> Self {
        Self(Mutex::new(backpressure_core::Throttle::new(options.settings)))
    }

    fn decide(
        &self,
        options: &Options,
        priority: Priority,
        now: Timestamp,
    ) -> (Verdict, Transition) {
        let mut throttle = self.lock();
        let share = throttle.rejected_share(priority, now);
        let draw = if share > 0.0 { options.random.fraction() } else { 1.0 };
        let verdict = match throttle.admits(priority, draw, now) {
            true => Verdict::Send(Pass::UNTRACKED),
            false => Verdict::Reject(RetryAfter::RESOLUTION),
        };
        (verdict, None)
    }

    fn ended(
        &self,
        _options: &Options,
        ended: &Ended<'_>,
        now: impl FnOnce() -> Timestamp,
    ) -> Transition {
        let accepted = match &ended.how {
            How::Cancelled => return None,
            How::Error => false,
            How::Redirected => true,
            How::Response { outcome: Outcome::Ignore, .. } => return None,
            How::Response { outcome, .. } => *outcome != Outcome::Overload,
        };
        let now = now();
        self.lock().ended(ended.priority, accepted, now);
        None
    }

    fn fill(&self, part: &mut PartReport, now: Timestamp) {
        part.rejected_share = self.lock().rejected_share(Priority::Normal, now);
    }
}

impl OriginThrottle {
    fn lock(&self) -> MutexGuard<'_, backpressure_core::Throttle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgotten counts are gathered again within seconds.
impl Idle for OriginThrottle {
    fn is_idle(&self) -> bool {
        true
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("settings", &self.settings).finish_non_exhaustive()
    }
}
