//! The breaker layer: sends nothing to an origin that does no useful work.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{BreakerSettings, Outcome, Shed};
use http::{Uri, request, response};
use tower_layer::Layer;

use crate::client::origin_key::OriginKey;
use crate::client::supervised::{Hold, Origin, Shared, Supervised};
use crate::client::valid::{self, require};

mod state;

use self::state::{Options, OriginBreaker};

/// Rejects requests in the client while nearly all calls of an origin fail or are slow.
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceBuilder;
/// use tower_backpressure::{BreakerLayer, RetryLayer};
///
/// let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::named("search"))
///     .layer(BreakerLayer::new("search").slow(Duration::from_secs(2)))
///     .service(hyper);
/// # let _ = client;
/// ```
///
/// # Do you need it?
///
/// A limit that adapts and a retry budget protect a server that is overloaded, and go on using what it can
/// do. A breaker is for an origin that does nothing useful: it saves the callers the wait for failures that
/// take long, and lets the origin come back without their load.
///
/// # Position in the stack
///
/// Inside [`RetryLayer`](crate::RetryLayer) and [`OriginLimitLayer`](crate::OriginLimitLayer), and outside a
/// timeout for single attempts: it then counts each attempt, measures no wait in a queue, and counts a timeout
/// as a failure. Inside an `OriginLimitLayer` its rejections lose the mark that says that the request was not
/// sent, so that `RetryLayer` repeats only idempotent requests.
///
/// # What counts
///
/// | outcome of a call | counts as |
/// |---|---|
/// | an error of the service inside, 408, 5xx, `UNAVAILABLE` and other failures in gRPC | failed |
/// | 503 of a server of this crate, 429, `RESOURCE_EXHAUSTED` | nothing: the server works, and is busy, or the client's quota is used up |
/// | a response later than [`slow`](Self::slow), or none within it when the caller leaves | slow |
/// | any other response | succeeded |
/// | a call that the caller leaves | nothing |
///
/// An [`Outcome`] in the extensions of a response takes precedence, and [`classify`](Self::classify) takes a
/// rule of your own.
///
/// # States
///
/// - **Closed**: calls are sent. It opens when at least [`min_calls`](Self::min_calls) ended within
///   [`window`](Self::window) and the share that failed, or was slow, reaches
///   [`failure_share`](Self::failure_share) or [`slow_share`](Self::slow_share).
/// - **Open**: calls are rejected with a 503, the time that is left as `Retry-After`, and
///   [`SHED_REASON`](crate::SHED_REASON) `breaker`. It is open for as long as the failed response asks for, a minute
///   at most, or else for [`open_for`](Self::open_for), doubled each time in a row up to four times that.
/// - **Half-open**: [`probes`](Self::probes) calls are sent. If all succeed, it begins to close; if one fails,
///   it opens again. Probes without a response are replaced after four times `open_for`; a late success counts.
/// - **Ramping**: as many calls are in flight as there were probes, and one more after each success; half as
///   many after a failure. It closes once `min_calls` have succeeded, and opens when calls fail as before.
///
/// # Options
///
/// | option | default | why |
/// |---|---|---|
/// | [`failure_share`](Self::failure_share), [`slow_share`](Self::slow_share) | 0.9 | opening costs one useful response in ten at most; at 0.5, as is usual elsewhere, an origin that fails half of its calls would fail all of them |
/// | [`slow`](Self::slow) | no call is slow | only the caller knows |
/// | [`min_calls`](Self::min_calls), [`window`](Self::window) | 20 in 10 s | with fewer, chance would open it |
/// | [`open_for`](Self::open_for) | 500 ms | an origin that is back is used within four times that; a few calls in that time are no load |
/// | [`probes`](Self::probes) | 3 | one may succeed by chance |
/// | [`key`](Self::key) | the origin | where one origin has parts that fail alone |
/// | [`classify`](Self::classify) | see above | |
/// | [`dry_run`](Self::dry_run) | false | turn it on to see what would be rejected |
///
/// All state lives in the layer: its services, their clones and its own clones share it. Setting an option
/// makes a new layer without state: set options before cloning. At most 1024 origins that no request uses are
/// kept, the most recently used ones.
///
/// # Metrics and events
///
/// `backpressure_requests_total` with `result` = `admitted`, `shed` or `would_reject` and `reason` = `breaker`;
/// `backpressure_transitions_total` with `to` = `closed`, `open`, `half-open` or `ramping`. An event names the
/// origin whose state changes.
///
/// # Errors
///
/// The client's own errors pass through. A rejection is a response, never an error.
///
/// # Cancellation
///
/// The future may be dropped at any time. The place of a probe that is dropped goes to the next call.
#[derive(Clone, Debug)]
pub struct BreakerLayer {
    shared: Arc<Shared<OriginBreaker>>,
}

/// The service of [`BreakerLayer`].
pub type Breaker<S> = Supervised<S, OriginBreaker>;

/// The state of one origin in a [`BreakerLayer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerSnapshot {
    /// Whether calls are sent.
    pub phase: BreakerPhase,
    /// The time until one may be sent again; zero outside [`BreakerPhase::Open`].
    pub left: Duration,
}

/// What a [`BreakerLayer`] does with the calls of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerPhase {
    /// All are sent.
    Closed,
    /// None is sent.
    Open,
    /// A few are sent.
    HalfOpen,
    /// More after each success.
    Ramping,
}

impl BreakerPhase {
    /// A stable short name, as in events.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Ramping => "ramping",
        }
    }
}

impl BreakerLayer {
    /// A breaker for each origin; `name` labels the metrics and events of all of them together.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let options = Options { settings: BreakerSettings::default(), slow: None };
        let no_hold = Hold { max_held: 0, max_wait: Duration::ZERO };
        Self { shared: Shared::new(name, options, no_hold) }
    }

    /// The share of failed calls at which it opens.
    ///
    /// # Panics
    /// When `share` is not in 0.01..=1.0.
    #[must_use]
    pub fn failure_share(self, share: f64) -> Self {
        require(valid::share("failure_share", share), share);
        self.edit(|options| options.settings.failure_share = share)
    }

    /// The share of slow calls at which it opens; see [`slow`](Self::slow).
    ///
    /// # Panics
    /// When `share` is not in 0.01..=1.0.
    #[must_use]
    pub fn slow_share(self, share: f64) -> Self {
        require(valid::share("slow_share", share), share);
        self.edit(|options| options.settings.slow_share = share)
    }

    /// A call without the head of a response after this time is slow.
    ///
    /// # Panics
    /// When `slow` is zero.
    #[must_use]
    pub fn slow(self, slow: Duration) -> Self {
        require(valid::longer_than_zero("slow", slow), "zero");
        self.edit(|options| options.slow = Some(slow))
    }

    /// The calls in the window below which it does not open; as many have to succeed before it closes.
    ///
    /// # Panics
    /// When `min_calls` is zero.
    #[must_use]
    pub fn min_calls(self, min_calls: u32) -> Self {
        require(valid::at_least_one("min_calls", min_calls), min_calls);
        self.edit(|options| options.settings.min_calls = min_calls)
    }

    /// How long a call counts.
    ///
    /// # Panics
    /// When `window` is zero.
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        require(valid::longer_than_zero("window", window), "zero");
        self.edit(|options| options.settings.window = window)
    }

    /// How long it is open at first, unless the failed response says for how long.
    ///
    /// # Panics
    /// When `open_for` is zero or more than a minute.
    #[must_use]
    pub fn open_for(self, open_for: Duration) -> Self {
        require(valid::open_for(open_for), format_args!("{open_for:?}"));
        self.edit(|options| options.settings.open_for = open_for)
    }

    /// The calls that have to succeed before it begins to close.
    ///
    /// # Panics
    /// When `probes` is zero.
    #[must_use]
    pub fn probes(self, probes: u32) -> Self {
        require(valid::at_least_one("probes", probes), probes);
        self.edit(|options| options.settings.probes = probes)
    }

    /// What shares a breaker, in place of the origin; `None` leaves a request to its origin.
    #[must_use]
    pub fn key(
        self,
        rule: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { shared: self.shared.with_key(rule) }
    }

    /// What a response says: [`Outcome::Success`], [`Outcome::Failure`], or [`Outcome::Ignore`] for a call that
    /// does not count. `None` leaves it to the defaults.
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

    /// The state of an origin; `None` when it was not used lately.
    ///
    /// ```
    /// use http::Uri;
    /// use tower_backpressure::BreakerLayer;
    ///
    /// let breakers = BreakerLayer::new("search");
    /// assert!(breakers.snapshot(&Uri::from_static("http://search.internal")).is_none());
    /// ```
    #[must_use]
    pub fn snapshot(&self, origin: &Uri) -> Option<BreakerSnapshot> {
        Some(self.shared.known(origin)?.state.snapshot(self.shared.now()))
    }

    /// The state of a key that the rule of [`key`](Self::key) returned; `None` when it was not used lately.
    #[must_use]
    pub fn snapshot_of_key(&self, key: &str) -> Option<BreakerSnapshot> {
        Some(self.shared.known_key(key)?.state.snapshot(self.shared.now()))
    }

    /// The breaker of one origin, for a route that depends on it.
    pub(super) fn know(&self, origin: &Uri) -> KnownBreaker {
        let origin = self.shared.state(OriginKey::of_uri(origin));
        KnownBreaker { shared: Arc::clone(&self.shared), origin }
    }

    fn edit(self, edit: impl FnOnce(&mut Options)) -> Self {
        Self { shared: self.shared.with(|options, _| edit(options)) }
    }
}

/// The breaker of one origin. It is not forgotten while this is alive.
#[derive(Clone, Debug)]
pub(super) struct KnownBreaker {
    shared: Arc<Shared<OriginBreaker>>,
    origin: Arc<Origin<OriginBreaker>>,
}

impl KnownBreaker {
    /// The rejection of a request whose call would be rejected, which counts as one of this layer.
    pub(super) fn shed(&self) -> Option<Shed> {
        let left = self.origin.state.would_reject(|| self.shared.now())?;
        self.shared.reject_early(left)
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Supervised::new(inner, Arc::clone(&self.shared))
    }
}
