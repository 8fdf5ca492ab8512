//! The retry layer: repeats requests when the server says so, within a budget and a deadline.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use self::policy::Policy;
use crate::client::replay::{ByClone, KeepForRetry, ResponseHead};

pub use self::future::ResponseFuture;
pub use self::long_retry_after::LongRetryAfter;
pub(in crate::client) use self::wait::{
    MIN_WAIT_AFTER_FAILED_CONNECTION, MIN_WAIT_AFTER_REJECTION,
};

mod drain;
mod future;
mod long_retry_after;
mod options;
mod payment;
mod policy;
mod progress;
mod wait;

/// Repeats a rejected or failed request: not before the server's `Retry-After`, with jitter, within a
/// budget and a deadline.
///
/// The layer goes over any `Service` of [`http::Request`]s, such as hyper-util's client or a tonic channel,
/// and with feature `reqwest` over `reqwest::Client`.
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
/// Outermost in a client. A layer that limits, measures, times or signs single attempts goes inside;
/// outside, it would count the waits between attempts as well. A retry layer inside another one that gets
/// its request, in the same task, makes one attempt and leaves the retries to the outer one. So does a layer that gets a request with
/// [`PREVIOUS_ATTEMPTS`](crate::client::PREVIOUS_ATTEMPTS), which a retry of another process carries.
///
/// # Which outcomes are retried
///
/// | outcome of an attempt | GET, HEAD, PUT, DELETE, … or with `Idempotency-Key` | POST, PATCH, … |
/// |---|---|---|
/// | the connection could not be made (refused, no route, a resolver or a handshake that failed), or was closed before it took the request | yes | yes: the request was not sent |
/// | HTTP/2 `REFUSED_STREAM`, or a stream above the last one of a `GOAWAY` | yes | yes: the request was not begun |
/// | 429, 421, 425; 503, or gRPC status 14 or 8, with `x-shed-reason` | yes | yes: the request was not begun |
/// | 408, 502, 503, 504, 529; gRPC status 14, or 8 with pushback or `RetryInfo`; any status but a redirection with `x-should-retry: true` | yes | no: the request may have been carried out |
/// | 409 after an attempt with the same `Idempotency-Key`, which may still be running | yes | – |
/// | any of these responses after a redirection that reqwest has followed inside | as above | no: the server that redirected has carried out its part |
/// | a mistake of the caller, such as a URL that cannot be sent to, or too many redirections | no | no |
/// | a host that does not exist, a certificate that is not accepted, a response that cannot be decoded | no | no |
/// | any other error of the service inside | yes | no |
/// | any other response | no | no |
///
/// Every gRPC call is a `POST`. Pushback says when to retry and not that the call was not begun: a handler in tonic that
/// has done work passes on the pushback of another service with `?`. For calls that may be repeated, set an
/// `idempotency-key` in their metadata, or return [`RetryDecision::not_begun`](crate::RetryDecision::not_begun) from
/// [`policy`](Self::policy) for their status. The wait is that of the pushback then.
///
/// The rows "not begun" hold for `POST` only while [`trust_not_begun`](Self::trust_not_begun) is true.
/// [`policy`](Self::policy) takes a rule that is asked first. The errors of hyper and h2 are known with
/// the feature `hyper`, and those of reqwest with `reqwest`; [`error_type`](Self::error_type) adds others.
///
/// reqwest's errors do not tell of a redirection: a `POST` is sent again when its redirection leads to a host that
/// refuses connections. For servers that redirect after they have carried out a `POST`, turn redirections off with
/// `reqwest::redirect::Policy::none`, or set an `Idempotency-Key`.
///
/// A request whose body cannot be copied is sent once; [`buffer_bodies`](Self::buffer_bodies) and
/// [`rebuild`](Self::rebuild) are for such bodies. The head of a response decides; failures in the body or
/// in trailers are not retried.
///
/// RFC 9110, section 9.2.2, says that a client should not retry a failed automatic retry. This layer
/// may, because the attempts of one request and the retries of all requests are bounded.
///
/// # How long a retry waits
///
/// - The response names a time: that long, and a random span of up to one second more, or up to a tenth
///   more where that is longer. Most servers count in whole seconds, so the extra second spreads clients
///   that were told the same number; after a delay with a fraction it is a tenth. It takes at most half of
///   what is left until the deadline, and never makes a retry early. [`RetryAfter::from_headers`] says which
///   fields and forms are understood.
///   Where the response began a cool-down of a [`CooldownLayer`](crate::CooldownLayer) inside, the retry waits for
///   its end, which has such a span in it.
/// - A 429, 503 or 529, gRPC status 14 or 8, or HTTP/2 `ENHANCE_YOUR_CALM` names no time: at least one second,
///   doubled with each attempt, and up to as much again.
/// - The `Retry-After` of a 429, 503 or 529 is zero or has passed: a random span of up to one second, as some servers round
///   down.
/// - The connection could not be made: at least 250 ms, four times as long with each attempt, and up to as
///   much again, so that three attempts outlast a restart of a second. The same after a second attempt that met no
///   server: a 502, or a connection that broke. The first may be an accident, and is repeated at once.
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
/// The last response or error is then returned at once and unchanged. [`GaveUp`](crate::GaveUp) in the response's
/// extensions tells why, how long the request has waited, and what the server asked for last; for an error,
/// [`ResponseFuture::gave_up`] does. [`Attempts::of`](crate::client::Attempts::of) the extensions tells how
/// many attempts were made.
///
/// # The deadline
///
/// No retry is sent after the earliest of the layer's deadline, a [`Deadline`](crate::Deadline) in the
/// request's extensions, `grpc-timeout`, and the timeout of a `reqwest::Request`. A deadline that was set, by
/// the option or in the request, also ends an attempt in flight. The response is then a 504 without a body,
/// or gRPC status 4, with [`GaveUp`](crate::GaveUp) in its extensions; reqwest ends the attempt itself, with its own error,
/// and its timeout includes the body. After a pause of this process the attempt has up to a second more, for a response that came
/// meanwhile. The services inside are told what is left: by a `Deadline`, by
/// `grpc-timeout` and by reqwest's timeout. The default deadline ends no attempt, as that may be a long poll.
///
/// # The failed response
///
/// What is left of a response that is going to be retried is read and discarded during the wait, up to
/// 64 KiB and half a second, so that the connection is used again and permits inside are released.
///
/// # Options
///
/// | option | default | why |
/// |---|---|---|
/// | [`max_attempts`](Self::max_attempts) | 3, the first included | a third attempt repairs most failures that a repetition can repair; a fourth is mostly load |
/// | [`budget`](Self::budget) | 10 % of the requests, a reserve of 10 or what two seconds earn, for each origin | see [`RetryBudget`](crate::RetryBudget); the first retry with a ticket is free, as the server issues no more tickets than it can serve; so is that of a request which was not sent, as a cool-down or a limit inside has rejected it for up to 5 s, or as the origin has refused connections for up to 3 s |
/// | [`deadline`](Self::deadline) | 30 s, for retries only | about when callers and proxies give up; a batch job has more time and should say so |
/// | [`policy`](Self::policy) | none | the rows above fit most servers |
/// | [`error_type`](Self::error_type) | `io::Error`, boxed errors | other types belong to the client inside |
/// | [`cooldown`](Self::cooldown) | none | a cool-down inside cannot look into errors; `ClientStack` sets its own |
/// | [`max_retry_after`](Self::max_retry_after) | 60 s | the cap of most clients; it has an effect only under a longer deadline |
/// | [`long_retry_after`](Self::long_retry_after) | give up | an earlier retry would be rejected again |
/// | [`strict_retry_after`](Self::strict_retry_after) | false | servers send more forms than RFC 9110 allows |
/// | [`backoff`](Self::backoff) | 50 ms, doubling up to 5 s | longer than a lost connection takes, and too short for a person to notice |
/// | [`trust_not_begun`](Self::trust_not_begun) | true | false behind a proxy that resends requests which a server has begun |
/// | [`idempotency_keys`](Self::idempotency_keys) | false | a server that ignores them would carry out a `POST` twice |
/// | [`attempt_header`](Self::attempt_header) | true | servers can tell retries from first attempts |
/// | [`change_connection`](Self::change_connection) | false | true behind a balancer that forwards connections, over hyper-util's client |
/// | [`buffer_bodies`](Self::buffer_bodies), [`rebuild`](Self::rebuild) | requests are cloned | nothing is buffered that can be copied |
/// | [`seed`](Self::seed) | random | for tests only: clients must not draw the same jitter |
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
/// | `backpressure_attempts_total` | counter | `policy`; `kind` = `first` or `retry` |
/// | `backpressure_retries_total` | counter | `policy`; `outcome` = `retried` for each retry sent, or why a failure was returned: see [`GiveUpReason`](crate::client::GiveUpReason) |
/// | `backpressure_retry_wait_seconds` | histogram | `policy`; `source` = `retry_after` or `backoff` |
/// | `backpressure_retry_budget_balance` | gauge | `policy`; the tokens after the last first attempt or failure, of its origin if each has a balance |
///
/// With feature `tracing`: an event at debug level for each retry and for each failure that is returned
/// instead. The event of a retry has the field `http.request.resend_count`.
///
/// # Errors
///
/// The service's own errors pass through after the last attempt. The layer adds none.
///
/// If the error is `tower::BoxError`, send with `client.ready().await?.call(request).await` in an `async` block that is
/// spawned. With `oneshot` rustc (1.95) cannot prove that the block is `Send`, as with tower's own timeout: inside the
/// block it forgets that the boxed error borrows nothing.
///
/// # Cancellation
///
/// The future may be dropped at any time. A retry that was charged to the budget and not yet sent is
/// refunded.
///
/// [`RetryAfter::from_headers`]: crate::RetryAfter::from_headers
#[derive(Clone, Debug)]
pub struct RetryLayer<R = ByClone> {
    policy: Arc<Policy>,
    replay: R,
}

impl<S, R: Clone> Layer<S> for RetryLayer<R> {
    type Service = Retry<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry { inner, policy: Arc::clone(&self.policy), replay: self.replay.clone() }
    }
}

/// The service of [`RetryLayer`].
#[derive(Clone, Debug)]
pub struct Retry<S, R = ByClone> {
    inner: S,
    policy: Arc<Policy>,
    replay: R,
}

impl<S, R> Retry<S, R> {
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

impl<S, Req, R> Service<Req> for Retry<S, R>
where
    S: Service<Req, Error: 'static> + Clone,
    S::Response: ResponseHead,
    R: KeepForRetry<Req>,
{
    type Response = <S::Response as ResponseHead>::Output;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, R>;

    /// Always ready: each attempt awaits the readiness of its own clone of the service inside.
    /// Readiness reserved here could be left unused on an idle clone.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let (policy, replay) = (Arc::clone(&self.policy), self.replay.clone());
        ResponseFuture::new(policy, replay, self.inner.clone(), request)
    }
}
