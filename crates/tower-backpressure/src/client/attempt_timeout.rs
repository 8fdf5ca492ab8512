//! A timeout for single attempts, whose response is a 504 and not an error.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::admission::body::ResponseBody;
use crate::client::classify::is_grpc_call;
use crate::client::expiry::Expiry;
use crate::client::valid::{self, require};
use crate::client::{deadline_exceeded, timeout_field};
use crate::request_info::RequestInfo;

#[cfg(feature = "reqwest")]
mod reqwest;

#[cfg(feature = "reqwest")]
pub use self::reqwest::AttemptTimeoutReqwestFuture;

/// Ends an attempt that has no head of a response in time, with a 504.
///
/// The response is like that of a gateway, or `DEADLINE_EXCEEDED` in gRPC: the request may have been carried out, so that
/// [`RetryLayer`](crate::RetryLayer) repeats it only if it is idempotent. The type of the errors stays that of
/// the client. A [`Deadline`](crate::Deadline) in the extensions of the request ends the attempt where it is
/// earlier, as does the timeout of a `reqwest::Request`. The body of a response is not timed.
///
/// # What the server is told
///
/// The time until then, in [`Request-Timeout`](crate::REQUEST_TIMEOUT), or in `grpc-timeout` for a gRPC call. A
/// field that names a shorter time stays. A server with a [`RequestInfoLayer`](crate::RequestInfoLayer) then rejects
/// at once what it cannot answer in that time, and does not work for a caller that has left.
/// [`announce(false)`](Self::announce) leaves the fields as they are.
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceBuilder;
/// use tower_backpressure::client::AttemptTimeoutLayer;
/// use tower_backpressure::RetryLayer;
///
/// let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::named("search"))
///     .layer(AttemptTimeoutLayer::new(Duration::from_secs(2)))
///     .service(hyper);
/// # let _ = client;
/// ```
///
/// # A pause of this process
///
/// A process that was suspended, or had no CPU time, finds the time over and the response unread in its socket. An attempt
/// then has as much time again as the timer was late, and a second at most, so that the response counts.
///
/// # Position in the stack
///
/// Innermost: it times attempts, and no wait in a queue. A response that it made has a [`TimedOut`] in its
/// extensions.
///
/// # Cancellation
///
/// The attempt is dropped when its time is over.
#[derive(Clone, Copy, Debug)]
pub struct AttemptTimeoutLayer {
    options: Options,
}

/// The service of [`AttemptTimeoutLayer`].
#[derive(Clone, Copy, Debug)]
pub struct AttemptTimeout<S> {
    inner: S,
    options: Options,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    timeout: Duration,
    announces: bool,
}

/// In the extensions of a 504 that an [`AttemptTimeoutLayer`] made: how long the attempt took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut(pub Duration);

pin_project! {
    /// The future of [`AttemptTimeout`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct AttemptTimeoutFuture<F> {
        #[pin]
        future: F,
        #[pin]
        expiry: Expiry,
        started: Instant,
        speaks_grpc: bool,
    }
}

impl AttemptTimeoutLayer {
    /// Ends attempts after this time.
    ///
    /// # Panics
    /// When `timeout` is zero.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        require(valid::longer_than_zero("timeout", timeout), "zero");
        Self { options: Options { timeout, announces: true } }
    }

    /// Whether the server is told the time that an attempt has; true by default. False is for a server that
    /// refuses header fields it does not know.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_backpressure::client::AttemptTimeoutLayer;
    ///
    /// let timeout = AttemptTimeoutLayer::new(Duration::from_secs(2)).announce(false);
    /// # let _ = timeout;
    /// ```
    #[must_use]
    pub const fn announce(mut self, announces: bool) -> Self {
        self.options.announces = announces;
        self
    }
}

impl<S> Layer<S> for AttemptTimeoutLayer {
    type Service = AttemptTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptTimeout { inner, options: self.options }
    }
}

impl<S> AttemptTimeout<S> {
    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the timeout.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for AttemptTimeout<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = AttemptTimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let started = Instant::now();
        let ends = started + self.options.timeout;
        let ends = RequestInfo::deadline_of(request.extensions()).map_or(ends, |at| at.min(ends));
        self.options.announce(request.headers_mut(), ends.saturating_duration_since(started));
        let speaks_grpc = is_grpc_call(request.headers());
        let (future, expiry) = (self.inner.call(request), Expiry::at(ends));
        AttemptTimeoutFuture { future, expiry, started, speaks_grpc }
    }
}

impl Options {
    /// Tells the server how long the attempt may take. A field of the caller's is kept true in any case.
    fn announce(self, headers: &mut HeaderMap, left: Duration) {
        match self.announces {
            true => timeout_field::tell(headers, left),
            false => timeout_field::refresh(headers, left),
        }
    }
}

impl<F, B, E> Future for AttemptTimeoutFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.future.poll(cx) {
            return Poll::Ready(result.map(ResponseBody::unguarded));
        }
        ready!(this.expiry.poll_expired(cx));
        let response = timed_out(this.started.elapsed(), *this.speaks_grpc);
        Poll::Ready(Ok(response.map(ResponseBody::rejected)))
    }
}

fn timed_out(after: Duration, speaks_grpc: bool) -> Response<Bytes> {
    let text = if speaks_grpc { &b""[..] } else { b"no response in time" };
    let mut response = deadline_exceeded::with_body(speaks_grpc, Bytes::from_static(text));
    response.extensions_mut().insert(TimedOut(after));
    response
}
