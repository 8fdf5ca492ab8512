//! The options of the retry layer.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::policy::{Policy, Rule};
use super::{LongRetryAfter, RetryLayer, wait};
use crate::client::budget::RetryBudget;
use crate::client::classify::{AttemptOutcome, RetryDecision};
use crate::client::cooldown::CooldownLayer;
use crate::client::jitter::Jitter;
use crate::client::replay::{Buffered, ByClone, Rebuilt, ReplayBody};
use crate::client::telemetry::RetryTelemetry;
use crate::client::valid::{self, require};

impl RetryLayer {
    /// A retry layer named `default`.
    #[must_use]
    pub fn new() -> Self {
        Self::named("default")
    }

    /// A retry layer whose metrics and events carry this name.
    ///
    /// Name the origin or the purpose. A name made from requests would be a metric label without bound.
    #[must_use]
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        let policy = Policy::new(RetryTelemetry::new(name.into()));
        Self { policy: Arc::new(policy), replay: ByClone }
    }

    /// Keeps the body of a request while it is sent, up to `max_bytes`, for bodies that are not `Clone`,
    /// such as tonic's and boxed ones. `wrap` turns the kept body back into the type that the service inside
    /// takes.
    ///
    /// A body that exceeds the bound is sent once, and is never in memory as a whole. A server that
    /// rejects such a request before the bound is reached gets it again.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::combinators::UnsyncBoxBody;
    /// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    /// use tower::ServiceBuilder;
    /// use tower_backpressure::RetryLayer;
    ///
    /// type Boxed = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
    ///
    /// let hyper = Client::builder(TokioExecutor::new()).build_http::<Boxed>();
    /// let client = ServiceBuilder::new()
    ///     .layer(RetryLayer::named("uploads").buffer_bodies(64 * 1024, Boxed::new))
    ///     .service(hyper);
    /// # let _ = client;
    /// ```
    ///
    /// Over a tonic channel it is `buffer_bodies(64 * 1024, tonic::body::Body::new)`.
    #[must_use]
    pub fn buffer_bodies<B, F>(self, max_bytes: usize, wrap: F) -> RetryLayer<Buffered<F>>
    where
        F: Fn(ReplayBody<B>) -> B,
    {
        let replay = Buffered { max_bytes, wrap: Arc::new(wrap) };
        RetryLayer { policy: self.policy, replay }
    }

    /// Makes the request of a retry anew, for bodies that can be opened again, such as a file's. `rebuild`
    /// gets the request before it is sent, and returns one for the next attempt; `None` sends it once.
    ///
    /// ```
    /// use http::Request;
    /// use tower_backpressure::RetryLayer;
    ///
    /// /// A body that is read from the file at this path.
    /// struct FileBody(std::path::PathBuf);
    ///
    /// let layer = RetryLayer::named("uploads").rebuild(|request: &Request<FileBody>| {
    ///     let mut again = Request::new(FileBody(request.body().0.clone()));
    ///     again.method_mut().clone_from(request.method());
    ///     again.uri_mut().clone_from(request.uri());
    ///     again.headers_mut().clone_from(request.headers());
    ///     Some(again)
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn rebuild<Req, F>(self, rebuild: F) -> RetryLayer<Rebuilt<F>>
    where
        F: Fn(&Req) -> Option<Req>,
    {
        RetryLayer { policy: self.policy, replay: Rebuilt(Arc::new(rebuild)) }
    }
}

impl<R> RetryLayer<R> {
    /// The name in metrics and events.
    #[must_use]
    pub fn name(&self) -> &str {
        self.policy.telemetry.policy()
    }

    /// How many times one request is sent at most, the first attempt included; 1 never retries.
    ///
    /// # Panics
    /// When `max_attempts` is not in 1..=10.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        require(valid::max_attempts(max_attempts), max_attempts);
        self.edit().max_attempts = max_attempts;
        self
    }

    /// Whether a server's statement that a request was not begun is taken as proof, so that a `POST` is
    /// sent again. The statement is a 429, 421 or 425, or a 503 or a gRPC status with `x-shed-reason`. True by default.
    ///
    /// The statement is true of the server that makes it. It is no proof behind a proxy that resends a
    /// request after one server has begun it and failed. The second server may say "not begun" of a
    /// request that the first one has carried out, and a retry repeats the work. Proxies do not resend a
    /// `POST` by default; haproxy's `retry-on all-retryable-errors` and nginx' `proxy_next_upstream
    /// non_idempotent` make them do so. Behind such a proxy choose false, or send an `Idempotency-Key`.
    ///
    /// It is also no proof where a handler that has done work passes on such a response of another
    /// service, as `?` does with a status in tonic. A layer of this crate around that handler removes the
    /// statement; a 429 of a server that is not of this crate stays.
    ///
    /// ```
    /// use tower_backpressure::RetryLayer;
    ///
    /// let layer = RetryLayer::named("behind-haproxy").trust_not_begun(false);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn trust_not_begun(mut self, trust: bool) -> Self {
        self.edit().trusts_not_begun = trust;
        self
    }

    /// The budget that all retries of this layer are charged to. Layers over one origin may share clones
    /// of one budget. For a layer over many origins, use [`RetryBudget::per_origin`], as the default does.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.policy.telemetry.show_budget(&budget);
        self.edit().request.budget = budget;
        self
    }

    /// Tells the cool-downs of the layer inside when a server rejects a request with an error: HTTP/2
    /// `ENHANCE_YOUR_CALM`. Layers inside see that an attempt failed, but cannot look into errors of any type. It is
    /// told of requests that this layer could send again. [`ClientStack`](crate::ClientStack) does it by itself.
    ///
    /// ```
    /// use tower::ServiceBuilder;
    /// use tower_backpressure::{CooldownLayer, RetryLayer};
    ///
    /// let cooldown = CooldownLayer::new("search");
    /// let layers = ServiceBuilder::new()
    ///     .layer(RetryLayer::named("search").cooldown(&cooldown))
    ///     .layer(cooldown);
    /// # let _ = layers;
    /// ```
    #[must_use]
    pub fn cooldown(mut self, cooldown: &CooldownLayer) -> Self {
        self.edit().cooldown = Some(cooldown.clone());
        self
    }

    /// The same for a layer that tells no other one yet.
    pub(in crate::client) fn linked(&self, cooldown: &CooldownLayer) -> Self
    where
        R: Clone,
    {
        let layer = self.clone();
        if layer.policy.cooldown.is_some() { layer } else { layer.cooldown(cooldown) }
    }

    /// The time from `call` after which no retry is sent, and at which an attempt in flight ends. A
    /// deadline of the request counts instead where it is earlier. See [the deadline](Self#the-deadline).
    ///
    /// # Panics
    /// When `deadline` is zero.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        require(valid::longer_than_zero("deadline", deadline), "zero");
        let request = &mut self.edit().request;
        (request.deadline, request.cuts_at_deadline) = (deadline, true);
        self
    }

    /// The longest `Retry-After` that a retry waits for. A response that asks for more is returned, or
    /// what [`long_retry_after`](Self::long_retry_after) says.
    ///
    /// # Panics
    /// When `max_retry_after` is more than [`RetryAfter::MAX`](crate::RetryAfter::MAX), ten minutes.
    #[must_use]
    pub fn max_retry_after(mut self, max_retry_after: Duration) -> Self {
        require(valid::max_retry_after(max_retry_after), format_args!("{max_retry_after:?}"));
        self.edit().max_retry_after = max_retry_after;
        self
    }

    /// What a server gets that asks for more than [`max_retry_after`](Self::max_retry_after). It never is an
    /// answer to a server that asks for no retry at all, which gets none.
    #[must_use]
    pub fn long_retry_after(mut self, what: LongRetryAfter) -> Self {
        self.edit().long_retry_after = what;
        self
    }

    /// Whether only `Retry-After` is read, and only in the forms of RFC 9110: see [`RetryAfter::strict`](crate::RetryAfter::strict).
    /// Any other value is ignored then.
    #[must_use]
    pub fn strict_retry_after(mut self, strict: bool) -> Self {
        self.edit().strict_retry_after = strict;
        self
    }

    /// The bounds of the wait where the server names none. The wait is a random span up to `first` after the
    /// first attempt, up to twice that after the second and so on, never more than `max`.
    ///
    /// # Panics
    /// When `first` is zero or longer than `max`, or `max` is more than ten minutes.
    #[must_use]
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        require(valid::backoff(first, max), format_args!("{first:?} and {max:?}"));
        self.edit().backoff = wait::Backoff { first, max };
        self
    }

    /// Makes the waits repeatable, for tests only: the same seed and the same failures give the same
    /// waits. Processes of a fleet that set the same seed return to a server in the same milliseconds.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.edit().jitter = Jitter::new(Rng::with_seed(seed));
        self
    }

    /// A rule that decides about an outcome first; `None` leaves it to the layer. See [`RetryDecision`] for
    /// an example. The rule is called for every outcome, successes included.
    #[must_use]
    pub fn policy(
        mut self,
        rule: impl Fn(&AttemptOutcome<'_>) -> Option<RetryDecision> + Send + Sync + 'static,
    ) -> Self {
        self.edit().rule = Some(Rule(Arc::new(rule)));
        self
    }

    /// Adds a type of error of the service inside, so that the layer and its rule can look into it. The
    /// sources of the error are then searched for the proof that a request was not sent.
    ///
    /// Boxed errors and `io::Error` are known, with feature `hyper` also those of hyper and hyper-util, and
    /// with feature `reqwest` those of reqwest. An error of another type is one that may have come after the
    /// request was carried out.
    ///
    /// Over a tonic channel it is `error_type::<tonic::transport::Error>()`.
    #[must_use]
    pub fn error_type<E: Error + 'static>(mut self) -> Self {
        self.edit().error_types.add::<E>();
        self
    }

    /// Whether requests whose method is not idempotent get an `Idempotency-Key`, unless they have one: a
    /// random UUID, made once and repeated with each attempt. They count as idempotent then.
    ///
    /// It is for servers that are known to recognise such keys. Another server would carry out a `POST`
    /// twice.
    #[must_use]
    pub fn idempotency_keys(mut self, add: bool) -> Self {
        self.edit().request.adds_idempotency_key = add;
        self
    }

    /// Whether a retry says on the wire how many attempts were made before it:
    /// [`PREVIOUS_ATTEMPTS`](crate::client::PREVIOUS_ATTEMPTS), or `grpc-previous-rpc-attempts` for a gRPC
    /// call. True by default.
    #[must_use]
    pub fn attempt_header(mut self, add: bool) -> Self {
        self.edit().request.adds_attempt_header = add;
        self
    }

    /// Whether a first attempt says on the wire that this layer will repeat it: its
    /// [`PREVIOUS_ATTEMPTS`](crate::client::PREVIOUS_ATTEMPTS) is 0. The services that it passes then make one
    /// attempt each, where they pass it on with [`RequestInfo::carry_to`](crate::RequestInfo::carry_to). False
    /// by default: a service that is near a failure repeats its part of the work at the least cost.
    #[must_use]
    pub fn announce_retries(mut self, announce: bool) -> Self {
        self.edit().request.announces_retries = announce;
        self
    }

    /// Whether a retry goes over another connection than the attempt before, where that was rejected with a 421, or with a
    /// 502 or 503 without a time, or was not answered in time (504). The connection takes no other requests then; those in
    /// flight over it go on.
    ///
    /// A balancer that forwards connections, such as a Kubernetes service, binds each of them to one replica. A
    /// client that uses its connections again sends the retries to the replica that has just failed.
    ///
    /// It is for hyper-util's `Client` (feature `hyper`), which tells what connection it has chosen; over another client it
    /// does nothing. False by default: to be told takes some allocations for each attempt. Over reqwest fewer idle
    /// connections, `pool_max_idle_per_host`, have a similar effect.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::Full;
    /// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    /// use tower::Layer;
    /// use tower_backpressure::RetryLayer;
    ///
    /// let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    /// let client = RetryLayer::named("search").change_connection(true).layer(hyper);
    /// # let _ = client;
    /// ```
    #[must_use]
    pub fn change_connection(mut self, change: bool) -> Self {
        self.edit().request.changes_connection = change;
        self
    }

    fn edit(&mut self) -> &mut Policy {
        Arc::make_mut(&mut self.policy)
    }
}

#[cfg(feature = "policy")]
impl RetryLayer {
    /// The first and the longest wait of a layer without options.
    pub(crate) fn default_backoff() -> (Duration, Duration) {
        let wait::Backoff { first, max } = wait::Backoff::default();
        (first, max)
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}
