//! The retry layer: repeats requests when the server says so, within a budget and a deadline.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fastrand::Rng;
use tower_layer::Layer;
use tower_service::Service;

use self::policy::Policy;
use crate::client::budget::RetryBudget;
use crate::client::jitter::Jitter;
use crate::client::replay::{Replay, ResponseHead};
use crate::headers::retry_after::RetryAfter;

pub use self::future::ResponseFuture;

mod future;
mod policy;
mod wait;

/// Repeats a rejected or failed request: not before the server's `Retry-After`, with jitter, within a
/// budget and a deadline.
///
/// The layer goes over any `Service` of [`http::Request`]s with a clonable body, such as hyper-util's
/// client, and with feature `reqwest` over `reqwest::Client`.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceBuilder;
/// use tower_backpressure::{RetryBudget, RetryLayer};
///
/// let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::named("payments-api").budget(RetryBudget::new(0.2)))
///     .service(hyper);
/// # let _ = client;
/// ```
///
/// # Position in the stack
///
/// Outermost in a client. A layer that limits, measures or times single attempts goes inside; outside, it
/// would count the waits between attempts as well. The deadline does not interrupt an attempt in flight;
/// a timeout layer inside does.
///
/// # Which responses are retried
///
/// | outcome of an attempt | GET, HEAD, PUT, DELETE, … or with `Idempotency-Key` | POST, PATCH, … |
/// |---|---|---|
/// | 429, 421, 425; 503 with `x-shed-reason` | yes | yes: the request was not begun |
/// | 408, 502, 503, 504, 529 | yes | no: the request may have been carried out |
/// | an error of the service inside | yes | no |
/// | any other response | no | no |
///
/// The first row holds for `POST` only while [`trust_not_begun`](Self::trust_not_begun) is true. A request
/// whose body cannot be copied is sent once. The head of a response decides; failures in the body or in
/// trailers are not retried.
///
/// RFC 9110, section 9.2.2, says that a client should not retry a failed automatic retry. This layer
/// may, because the attempts of one request and the retries of all requests are bounded.
///
/// # How long a retry waits
///
/// - The response names a time: that long, and a random span of up to one second more, or up to a tenth
///   more where that is longer. Most servers count in whole seconds, so the extra second spreads clients
///   that were told the same number. It takes at most half of what is left until the deadline, and never
///   makes a retry early. [`RetryAfter::from_headers`] says which fields and forms are understood.
/// - A 429, 503 or 529 names no time: at least one second, doubled with each attempt, and up to as much
///   again.
/// - Otherwise, or when the time has passed: a random span up to `backoff`, which doubles with each
///   attempt.
///
/// A rejection by [`AdmissionLayer`](crate::AdmissionLayer) carries a ticket,
/// [`RETURN_TICKET`](crate::RETURN_TICKET). The retry brings it back, and the server admits it before new
/// requests.
///
/// # When a request is not retried any more
///
/// - The last attempt has been made.
/// - The budget is spent.
/// - The wait would end after the deadline.
/// - The server asks for more than `max_retry_after`, where an earlier retry would be rejected again, or
///   for no retry at all.
///
/// The last response or error is then returned at once and unchanged.
/// [`Attempts::of`](crate::client::Attempts::of) the response's extensions tells how many attempts were
/// made.
///
/// A response that is going to be retried is dropped before the wait, so that permits inside are
/// released. Over HTTP/1 that closes a connection whose response body was not read.
///
/// # Options
///
/// | option | default | why |
/// |---|---|---|
/// | [`max_attempts`](Self::max_attempts) | 3, the first included | a third attempt repairs most failures that a repetition can repair; a fourth is mostly load |
/// | [`budget`](Self::budget) | 10 % of the requests, reserve 10 | see [`RetryBudget`]; a retry with a ticket is free, as the server issues no more tickets than it can serve |
/// | [`deadline`](Self::deadline) | 30 s | about when callers and proxies give up; a batch job has more time and should say so |
/// | [`max_retry_after`](Self::max_retry_after) | 60 s | the cap of most clients; it has an effect only under a longer deadline |
/// | [`strict_retry_after`](Self::strict_retry_after) | false | servers send more forms than RFC 9110 allows |
/// | [`backoff`](Self::backoff) | 50 ms, doubling up to 5 s | longer than a lost connection or a worker's restart takes, and too short for a person to notice |
/// | [`trust_not_begun`](Self::trust_not_begun) | true | false behind a proxy that resends requests which a server has begun |
/// | [`seed`](Self::seed) | random | clients must not draw the same jitter |
///
/// State lives in the layer: all services it makes, and all their clones, share one budget. Clones of the
/// layer do too, unless one is given a budget of its own.
///
/// # Metrics and events
///
/// With feature `metrics`:
///
/// | name | kind | labels |
/// |---|---|---|
/// | `backpressure_retries_total` | counter | `policy`; `outcome` = `retried` for each retry sent, or why a failure was returned: `attempts`, `not_replayable`, `retry_after`, `deadline`, `budget` |
/// | `backpressure_retry_wait_seconds` | histogram | `policy`; `source` = `retry_after` or `backoff` |
///
/// With feature `tracing`: an event at debug level for each retry and for each failure that is returned
/// instead. The event of a retry has the field `http.request.resend_count`.
///
/// # Errors
///
/// The service's own errors pass through after the last attempt. The layer adds none.
///
/// # Cancellation
///
/// The future may be dropped at any time. A retry that was charged to the budget and not yet sent is
/// refunded.
#[derive(Clone, Debug)]
pub struct RetryLayer {
    policy: Arc<Policy>,
}

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
        Self { policy: Arc::new(Policy::new(name.into())) }
    }

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
        assert!(
            (1..=MAX_ATTEMPTS).contains(&max_attempts),
            "max_attempts must be in 1..=10, was {max_attempts}"
        );
        self.edit().max_attempts = max_attempts;
        self
    }

    /// Whether a server's statement that a request was not begun is taken as proof, so that a `POST` is
    /// sent again. The statement is a 429, 421 or 425, or a 503 with `x-shed-reason`. True by default.
    ///
    /// The statement is true of the server that makes it. It is no proof behind a proxy that resends a
    /// request after one server has begun it and failed. The second server may say "not begun" of a
    /// request that the first one has carried out, and a retry repeats the work. Proxies do not resend a
    /// `POST` by default; haproxy's `retry-on all-retryable-errors` and nginx' `proxy_next_upstream
    /// non_idempotent` make them do so. Behind such a proxy choose false, or send an `Idempotency-Key`.
    ///
    /// It is also no proof where a handler that has done work passes on such a response of another
    /// service. A layer of this crate around that handler removes the statement.
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
    /// of one budget.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.edit().budget = budget;
        self
    }

    /// The time from `call` after which no retry is sent. A [`Deadline`](crate::Deadline) in the request's
    /// extensions counts instead where it is earlier.
    ///
    /// # Panics
    /// When `deadline` is zero.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        assert!(!deadline.is_zero(), "deadline must be longer than zero");
        self.edit().deadline = deadline;
        self
    }

    /// The longest `Retry-After` that a retry waits for. A response that asks for more is returned.
    ///
    /// # Panics
    /// When `max_retry_after` is more than [`RetryAfter::MAX`], ten minutes.
    #[must_use]
    pub fn max_retry_after(mut self, max_retry_after: Duration) -> Self {
        assert!(
            max_retry_after <= RetryAfter::MAX,
            "max_retry_after must be in 0s..=600s, was {max_retry_after:?}"
        );
        self.edit().max_retry_after = max_retry_after;
        self
    }

    /// Whether only `Retry-After` is read, and only in the forms of RFC 9110: see [`RetryAfter::strict`].
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
        assert!(
            !first.is_zero() && first <= max && max <= RetryAfter::MAX,
            "backoff must have first in 1ns..=max and max in first..=600s, was {first:?} and {max:?}"
        );
        self.edit().backoff = wait::Backoff { first, max };
        self
    }

    /// Makes the waits repeatable: the same seed and the same failures give the same waits.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.edit().jitter = Jitter::new(Rng::with_seed(seed));
        self
    }

    fn edit(&mut self) -> &mut Policy {
        Arc::make_mut(&mut self.policy)
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry { inner, policy: Arc::clone(&self.policy) }
    }
}

/// The service of [`RetryLayer`].
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> Retry<S> {
    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without retries.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, Req> Service<Req> for Retry<S>
where
    S: Service<Req> + Clone,
    S::Response: ResponseHead,
    Req: Replay,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req>;

    /// Always ready: each attempt awaits the readiness of its own clone of the service inside.
    /// Readiness reserved here could be left unused on an idle clone.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture::new(Arc::clone(&self.policy), self.inner.clone(), request)
    }
}

/// Bounds the load of one request where a budget does not, as at a ratio of 1.0. More attempts would
/// hardly fit the default deadline of 30 s. Nine waits of the default backoff are 16 s at most, and each
/// further one adds up to 5 s.
const MAX_ATTEMPTS: u32 = 10;
