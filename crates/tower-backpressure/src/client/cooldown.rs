//! The cool-down layer: what one caller was told quiets all callers of that origin.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Reason, Shed};
use fastrand::Rng;
use http::{HeaderMap, StatusCode, Uri, request};
use tokio::time::Instant;
use tower_layer::Layer;

use crate::client::jitter::Jitter;
use crate::client::origin_key::OriginKey;
use crate::client::supervised::{Hold, Origin, Shared, Supervised};
use crate::client::valid::{self, require};
use crate::headers::retry_after::RetryAfter;

mod state;

use self::state::{Options, OriginCooldown, ToldRule};

/// Sends nothing to an origin that has said when to come back, until then.
///
/// Without it each caller of a client has to be told by itself: an origin that answers `429` with
/// `Retry-After: 2` to all of twenty new requests a second is asked forty times in that time. With it, the
/// requests of the other callers wait here or are rejected here, and after the time one of them is sent first.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceBuilder;
/// use tower_backpressure::{CooldownLayer, OriginLimitLayer, RetryLayer};
///
/// let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let cooldown = CooldownLayer::new("search");
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::named("search"))
///     .layer(cooldown.clone())
///     .layer(OriginLimitLayer::new("search").cooldown(&cooldown))
///     .service(hyper);
/// # let _ = client;
/// ```
///
/// # Position in the stack
///
/// Inside [`RetryLayer`](crate::RetryLayer), so that it sees each attempt, and outside
/// [`OriginLimitLayer`](crate::OriginLimitLayer), so that a request that is held occupies no permit. Requests
/// that already wait for a permit when a cool-down begins are rejected by
/// [`OriginLimitLayer::cooldown`](crate::OriginLimitLayer::cooldown).
///
/// # What begins a cool-down
///
/// | response | effect |
/// |---|---|
/// | 429 with a time | a cool-down once 3 in a row have come over a tenth of a second, and no answer to any other request, or the first from an origin that never answered: a single one may be about one route |
/// | 503 or 529 with a time, gRPC pushback | the same once 16 in a row have come, or 4 from an origin that never answered: a single one may come from one replica of many |
/// | a 503 of a server of this crate | none: the time is that of this request alone |
/// | HTTP/2 `ENHANCE_YOUR_CALM`, for a stream or a connection, of which a [`RetryLayer::cooldown`](crate::RetryLayer::cooldown) tells | as a 429 that names a second |
/// | 502, or 503 without a time, as a proxy answers while the server behind it restarts, or an error of the client inside | a cool-down of a quarter of a second and more, once 8 or more in a row have come over a tenth of a second from an origin that has answered before; it is repeated while a probe ends so as well, for 3 s in all, and then not before 10 s without such a response |
/// | any other response, or that of another origin after a redirection | none |
///
/// Rejections also have to be four times as many as the requests in flight that were sent before the first of them: a
/// rejection comes at once, and an answer may take long.
///
/// [`RetryAfter::from_headers`] says which fields and forms are understood. [`told`](Self::told) takes a rule
/// of your own. The time is at most [`max_cooldown`](Self::max_cooldown), and random jitter is added to it: up
/// to a second, or a tenth where that is longer, so that clients that were told the same do not come back
/// together.
///
/// # The end of a cool-down
///
/// After the time one request is sent, and the others wait for its response. Once it is answered, two may be in
/// flight, and one more after each response, until none waits any more. All those in flight may be long polls: if
/// none is answered for a quarter of a second, the others no longer wait for them, and twice as many are sent. A
/// probe that is told again when to come back begins a new cool-down, and so do three responses in a row after it.
///
/// To an origin that has answered before, one or two requests are sent early: after a quarter of a second at
/// most, and after four times as long. If one is answered, the time does not hold for all requests, as with a
/// server that counts by rate: the cool-down ends, and it takes 16 rejections in a row to begin another one. If
/// they are told to come back as well, such requests are left out more and more often.
///
/// # Requests during a cool-down
///
/// A request whose turn comes within [`hold`](Self::hold), and before its [`Deadline`](crate::Deadline), waits.
/// Any other is rejected at once with a 503, the time that is left as `Retry-After`, and
/// [`SHED_REASON`](crate::SHED_REASON) `cooldown`. It was not sent, so that `RetryLayer` may repeat it whatever
/// its method.
///
/// # Options
///
/// | option | default | why |
/// |---|---|---|
/// | [`hold`](Self::hold) | 1024 requests of all origins, for 3 s | covers `Retry-After: 1` and `2`, the most common values, with their jitter |
/// | [`max_cooldown`](Self::max_cooldown) | 60 s | as `RetryLayer`: what clients commonly accept; a mistaken value stops a client for a minute at most |
/// | [`key`](Self::key) | the origin | where one origin counts by account or by route |
/// | [`told`](Self::told) | by status and fields | where an origin says it in another way |
/// | [`dry_run`](Self::dry_run) | false | turn it on to see what would be held back |
/// | [`seed`](Self::seed) | random | tests only |
///
/// All state lives in the layer: its services, their clones and its own clones share it. Setting an option
/// makes a new layer without state: set options before cloning. At most 1024 origins that no request uses are
/// kept, the most recently used ones.
///
/// # Metrics and events
///
/// `backpressure_requests_total` with `result` = `admitted`, `shed` or `would_reject` and `reason` = `cooldown`;
/// `backpressure_held`, a gauge; `backpressure_transitions_total` with `to` = `inactive`, `quiet`, `probing` or
/// `resuming`. An event names the origin whose state changes.
///
/// # Errors
///
/// The client's own errors pass through. A rejection is a response, never an error.
///
/// # Cancellation
///
/// The future may be dropped at any time. The place of a probe that is dropped goes to the next request.
#[derive(Clone, Debug)]
pub struct CooldownLayer {
    shared: Arc<Shared<OriginCooldown>>,
}

/// The service of [`CooldownLayer`].
pub type Cooldown<S> = Supervised<S, OriginCooldown>;

/// The state of one origin in a [`CooldownLayer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CooldownSnapshot {
    /// Whether requests are sent.
    pub phase: CooldownPhase,
    /// The time until one may be sent again; zero outside [`CooldownPhase::Quiet`].
    pub left: Duration,
    /// Requests that wait.
    pub held: usize,
}

/// What a [`CooldownLayer`] does with the requests of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CooldownPhase {
    /// There is no cool-down: all are sent.
    Inactive,
    /// None is sent.
    Quiet,
    /// One was sent, and the others wait for its response.
    Probing,
    /// A few are in flight, more after each response.
    Resuming,
}

impl CooldownPhase {
    /// A stable short name, as in events.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Quiet => "quiet",
            Self::Probing => "probing",
            Self::Resuming => "resuming",
        }
    }
}

impl CooldownLayer {
    /// A cool-down for each origin; `name` labels the metrics and events of all of them together.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let jitter = Jitter::new(Rng::new());
        let options = Options { max_cooldown: DEFAULT_MAX_COOLDOWN, jitter, told: None };
        Self { shared: Shared::new(name, options, DEFAULT_HOLD) }
    }

    /// What a layer without options holds.
    #[cfg(feature = "policy")]
    pub(crate) const fn default_hold() -> (usize, Duration) {
        (DEFAULT_HOLD.max_held, DEFAULT_HOLD.max_wait)
    }

    /// How many requests wait during cool-downs, of all origins together, and for how long each; zero of
    /// either rejects all of them at once.
    #[must_use]
    pub fn hold(self, max_held: usize, max_wait: Duration) -> Self {
        let max_wait = max_wait.min(RetryAfter::MAX);
        self.edit(|shared| shared.with(|_, common| common.hold = Hold { max_held, max_wait }))
    }

    /// The longest cool-down, without its jitter. What a response asks for beyond it is ignored.
    ///
    /// # Panics
    /// When `max_cooldown` is zero, or more than [`RetryAfter::MAX`], ten minutes.
    #[must_use]
    pub fn max_cooldown(self, max_cooldown: Duration) -> Self {
        require(valid::max_cooldown(max_cooldown), format_args!("{max_cooldown:?}"));
        self.edit(|shared| shared.with(|options, _| options.max_cooldown = max_cooldown))
    }

    /// What shares a cool-down, in place of the origin; `None` leaves a request to its origin.
    ///
    /// ```
    /// use tower_backpressure::CooldownLayer;
    ///
    /// // An API that counts by account.
    /// let layer = CooldownLayer::new("mail").key(|request| {
    ///     let account = request.headers.get("x-account")?;
    ///     Some(account.to_str().ok()?.to_owned())
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn key(
        self,
        rule: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.edit(|shared| shared.with_key(rule))
    }

    /// For how long a response asks callers to stay away; `None` leaves it to the defaults. It counts as a 429.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use http::StatusCode;
    /// use tower_backpressure::{CooldownLayer, RetryAfter};
    ///
    /// // GitHub answers with 403 to clients that send too many requests.
    /// let layer = CooldownLayer::new("github").told(|status, headers| {
    ///     let forbidden = status == StatusCode::FORBIDDEN;
    ///     let told = RetryAfter::from_headers(headers, SystemTime::now()).filter(|_| forbidden);
    ///     told.map(RetryAfter::delay)
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn told(
        self,
        rule: impl Fn(StatusCode, &HeaderMap) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        let rule: Arc<ToldRule> = Arc::new(rule);
        self.edit(|shared| shared.with(|options, _| options.told = Some(rule)))
    }

    /// Decides, counts and reports, but sends every request at once.
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Self {
        self.edit(|shared| shared.with_dry_run(dry_run))
    }

    /// Makes the jitter repeatable, for tests.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        let jitter = Jitter::new(Rng::with_seed(seed));
        self.edit(|shared| shared.with(|options, _| options.jitter = jitter))
    }

    /// The state of an origin; `None` when it was not used lately.
    #[must_use]
    pub fn snapshot(&self, origin: &Uri) -> Option<CooldownSnapshot> {
        Some(self.shared.known(origin)?.state.snapshot(self.shared.now()))
    }

    /// The state of a key that the rule of [`key`](Self::key) returned; `None` when it was not used lately.
    #[must_use]
    pub fn snapshot_of_key(&self, key: &str) -> Option<CooldownSnapshot> {
        Some(self.shared.known_key(key)?.state.snapshot(self.shared.now()))
    }

    /// The cool-down of one origin, for a route that depends on it.
    pub(super) fn know(&self, origin: &Uri) -> KnownCooldown {
        let origin = self.shared.state(OriginKey::of_uri(origin));
        KnownCooldown { shared: Arc::clone(&self.shared), origin }
    }

    /// The rejection of a request that has waited elsewhere, if its origin is in a cool-down.
    pub(super) fn shed(&self, origin: &str) -> Option<Shed> {
        let now = self.shared.now();
        let origin = self.shared.known_name(origin)?;
        let left = origin.state.snapshot(now).left;
        (!left.is_zero() && !self.shared.common.dry_run).then(|| Shed::new(Reason::Cooldown, left))
    }

    /// The origin has rejected an attempt with an error: the layer sees it end, and cannot look into it.
    pub(super) fn rejected_by_error(&self, scheme: &str, authority: &str) {
        let Some(origin) = self.shared.states.get(OriginKey::new(scheme, authority)) else {
            return;
        };
        let transition = origin.state.rejected_by_error(&self.shared.options, self.shared.now());
        self.shared.report(&origin, transition);
    }

    fn edit(
        self,
        edit: impl FnOnce(&Shared<OriginCooldown>) -> Arc<Shared<OriginCooldown>>,
    ) -> Self {
        Self { shared: edit(&self.shared) }
    }
}

/// The cool-down of one origin. It is not forgotten while this is alive.
#[derive(Clone, Debug)]
pub(super) struct KnownCooldown {
    shared: Arc<Shared<OriginCooldown>>,
    origin: Arc<Origin<OriginCooldown>>,
}

impl KnownCooldown {
    /// The rejection of a request with this deadline whose call would be rejected, which counts as one of this
    /// layer. A call that would be held passes.
    pub(super) fn shed(&self, deadline: Option<Instant>) -> Option<Shed> {
        let left = self.origin.state.pause(|| self.shared.now())?;
        let is_held = self.shared.would_hold(left, deadline);
        if is_held { None } else { self.shared.reject_early(left) }
    }
}

impl<S> Layer<S> for CooldownLayer {
    type Service = Cooldown<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Supervised::new(inner, Arc::clone(&self.shared))
    }
}

/// As `RetryLayer`: a mistaken value stops a client for a minute at most.
const DEFAULT_MAX_COOLDOWN: Duration = Duration::from_secs(60);
/// Megabytes of requests at most, each for long enough for `Retry-After: 1` and `2`.
const DEFAULT_HOLD: Hold = Hold { max_held: 1_024, max_wait: Duration::from_secs(3) };
