//! Asking again: when the server says, no more than the budget allows, never in vain.

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

/// Sends a refused or failed request again: not before the server's `Retry-After`, spread out,
/// within a budget and a deadline.
///
/// Goes over any `Service` of [`http::Request`]s with a clonable body, such as hyper-util's client,
/// and with feature `reqwest` over `reqwest::Client`. Put layers that limit or time single attempts
/// below it, or they measure its pauses.
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
/// # What is retried
///
/// | outcome | GET, HEAD, PUT, DELETE, … or with `Idempotency-Key` | POST, PATCH, … |
/// |---|---|---|
/// | 429, 421, 425; 503 with `x-shed-reason` | yes | yes: it was never begun |
/// | 408, 502, 503, 504 | yes | no: it may have been carried out |
/// | an error of the inner service | yes | no |
/// | any other response | no | no |
///
/// The first line holds for `POST` only while [`trust_not_begun`](Self::trust_not_begun) is true. A
/// body that cannot be copied is sent once.
///
/// RFC 9110 §9.2.2 would have no failed retry retried; here it may be, as the attempts of one
/// request and the retries of all of them are bounded.
///
/// # How long it waits
///
/// With `Retry-After`: that long and up to a second more, or up to a tenth more where that is
/// longer. The header counts in whole seconds, so the extra second is what keeps those apart who
/// were given the same number; it never makes anybody early. Without one, or when it has passed:
/// a random span up to `backoff`, which doubles with every attempt.
///
/// A refusal of [`AdmissionLayer`](crate::AdmissionLayer) carries a ticket, [`RETURN_TICKET`](crate::RETURN_TICKET). The retry
/// brings it back and goes before new requests there.
///
/// # When it gives up
///
/// At the last attempt, when the budget is spent, when the wait would outlast the deadline, or when
/// the server asks for more than `max_retry_after` (coming back earlier would be refused again, and
/// deserve it). It then hands over what it has, at once: the server's own response, untouched, or
/// the inner service's own error. [`Attempts::of`](crate::client::Attempts::of) a response's
/// extensions tells how many attempts were made.
///
/// # Options
///
/// | option | default | why |
/// |---|---|---|
/// | [`max_attempts`](Self::max_attempts) | 3 in all | a third attempt mends most of what can be mended; a fourth is mostly load |
/// | [`budget`](Self::budget) | 10 %, reserve 10 | see [`RetryBudget`]; a retry with a ticket is free: the server plans for it, and hands out no more than it can serve |
/// | [`deadline`](Self::deadline) | 30 s | about when callers and proxies in front give up; a batch has more time and should say so |
/// | [`max_retry_after`](Self::max_retry_after) | 60 s | the cap most clients agree on; it matters where the deadline is longer |
/// | [`backoff`](Self::backoff) | 50 ms up to 5 s | past a lost connection or a restarted worker, yet not felt by a person |
/// | [`trust_not_begun`](Self::trust_not_begun) | true | false where a proxy resends what was begun |
/// | [`seed`](Self::seed) | random | |
///
/// State lives in the layer: all services it makes, and all their clones, share one budget.
///
/// # Metrics and events
///
/// With feature `metrics`: the counter `backpressure_retries_total{policy, outcome}`, where outcome
/// is `retried` for each retry sent, and otherwise why a failure was handed over: `attempts`,
/// `not_replayable`, `retry_after`, `deadline`, `budget`. The histogram
/// `backpressure_retry_wait_seconds{policy, source}`, where source is `retry_after` or `backoff`.
/// With feature `tracing`: an event at debug level for each of them, with
/// `http.request.resend_count`.
///
/// # Cancellation
///
/// The future may be dropped at any time. A retry that was paid for and not yet sent is paid back.
///
/// # Limits
///
/// An attempt in flight is not cut off by the deadline; put a timeout below for that. A response
/// that is not handed over is dropped before the wait, so that permits below come free; an HTTP/1
/// connection whose response has an unread body is closed thereby. A response is judged by its
/// head: failures in the body or in trailers are not retried.
#[derive(Clone, Debug)]
pub struct RetryLayer {
    policy: Arc<Policy>,
}

impl RetryLayer {
    /// Retries under the name `default`.
    #[must_use]
    pub fn new() -> Self {
        Self::named("default")
    }

    /// Retries under a name of its own, by which metrics and events tell it from others. Name the
    /// origin or the purpose; a name made from requests would be a label without bound.
    #[must_use]
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        Self { policy: Arc::new(Policy::new(name.into())) }
    }

    /// The name in metrics and events.
    #[must_use]
    pub fn name(&self) -> &str {
        self.policy.telemetry.policy()
    }

    /// How often one request is sent at most, the first attempt included; 1 never retries.
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

    /// Whether a server's word that a request was not begun (429, 421, 425, or 503 with
    /// `x-shed-reason`) is taken for proof, so that a `POST` is sent again. True by default.
    ///
    /// The word is true of the server that gives it. It is no proof where a proxy in between sends a
    /// request to a second server after the first one has begun it and failed: then the first did
    /// the work, the second says that it was not begun, and a retry does it again. Proxies do not
    /// resend a `POST` by default; some can be told to (haproxy's `retry-on all-retryable-errors`,
    /// nginx' `proxy_next_upstream non_idempotent`). In front of those say false, or send an
    /// `Idempotency-Key`. It is also no proof where a handler that has done work passes on such an
    /// answer of another service, unless a layer of this crate around the handler takes it off.
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

    /// What all retries of this layer are paid from. Layers over the same origin may be given
    /// clones of one budget.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.edit().budget = budget;
        self
    }

    /// How long a request may take from `call` on for a retry to be worthwhile. A
    /// [`Deadline`](crate::Deadline) in the request's extensions counts where it is
    /// earlier.
    ///
    /// # Panics
    /// When `deadline` is zero.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        assert!(!deadline.is_zero(), "deadline must be longer than zero");
        self.edit().deadline = deadline;
        self
    }

    /// The longest `Retry-After` that is waited for. At more, the response is handed over.
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

    /// The bounds of the wait where the server names none: a random span up to `first` after the
    /// first attempt, twice that after the second and so on, never more than `most`.
    ///
    /// # Panics
    /// When `first` is zero or longer than `most`, or `most` is more than ten minutes.
    #[must_use]
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        assert!(
            !first.is_zero() && first <= most && most <= RetryAfter::MAX,
            "backoff must be in 1ns..=most and most in first..=600s, was {first:?} and {most:?}"
        );
        self.edit().backoff = wait::Backoff { first, most };
        self
    }

    /// Makes the waits repeatable: the same seed and the same failures, the same waits.
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

/// A service that asks again: made by [`RetryLayer`].
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> Retry<S> {
    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service below.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service below, without retries.
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

    /// Always ready: each attempt waits for the inner service within the future, on a clone that
    /// belongs to it. Readiness reserved here could be left behind on an idle clone.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture::new(Arc::clone(&self.policy), self.inner.clone(), request)
    }
}

const MAX_ATTEMPTS: u32 = 10;
