//! The fallback layer: another service answers what would be rejected.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use backpressure_core::Shed;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::admission::{Admission, AdmissionLayer};
use crate::inner::take_polled;

/// Admits requests as the [`AdmissionLayer`] inside does, and hands a request that would be rejected, with its
/// body, to another service: a cached page, a shorter answer, a queue for later.
///
/// ```
/// use axum::body::Body;
/// use axum::http::{Request, Response};
/// use axum::{Router, routing::get};
/// use std::convert::Infallible;
/// use tower::service_fn;
/// use tower_backpressure::{AdmissionLayer, server::FallbackLayer};
///
/// let cached = service_fn(|_: Request<Body>| async {
///     Ok::<_, Infallible>(Response::new(Body::from("as of a minute ago")))
/// });
/// let app: Router = Router::new()
///     .route("/", get(|| async { "fresh" }))
///     .layer(FallbackLayer::new(AdmissionLayer::adaptive("api"), cached));
/// ```
///
/// The request is counted as rejected, as it takes no permit. At most [`max_in_flight`](Self::max_in_flight) requests
/// are in the fallback at once, and what is beyond is rejected: a fallback that stalls holds no more than that. One
/// that does more than a little work needs an `AdmissionLayer` or a `BulkheadLayer` of its own around it, and one that
/// may stall a time-out. Its responses say nothing of Retry-After, except those that it makes so.
///
/// # Errors
/// Those of both services pass through.
#[derive(Clone, Debug)]
pub struct FallbackLayer<F> {
    admission: AdmissionLayer,
    fallback: F,
}

/// As many as fit some 10 MB of memory, at about 10 kB a request. A fallback of a millisecond never has as many.
const DEFAULT_MAX_IN_FLIGHT: usize = 1_024;

/// The service inside the admission layer and the fallback, of which each request gets one.
#[derive(Clone, Debug)]
pub struct WithFallback<S, F> {
    inner: S,
    inner_is_ready: bool,
    fallback: F,
}

impl<F> FallbackLayer<F> {
    /// Requests that `admission` would reject go to `fallback`. A [`BulkheadLayer`](crate::BulkheadLayer) or a
    /// [`QueueLayer`](crate::QueueLayer) is an admission layer too.
    pub fn new(admission: impl Into<AdmissionLayer>, fallback: F) -> Self {
        let admission = admission.into().passing_on_rejected(DEFAULT_MAX_IN_FLIGHT);
        Self { admission, fallback }
    }

    /// How many requests may be in the fallback at once, 1024 by default; 0 rejects all of them.
    #[must_use]
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.admission = self.admission.passing_on_rejected(max);
        self
    }
}

impl<S, F: Clone> Layer<S> for FallbackLayer<F> {
    type Service = Admission<WithFallback<S, F>>;

    fn layer(&self, inner: S) -> Self::Service {
        let fallback = self.fallback.clone();
        self.admission.layer(WithFallback { inner, inner_is_ready: false, fallback })
    }
}

impl<S, F, B, R> Service<Request<B>> for WithFallback<S, F>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    F: Service<Request<B>, Response = Response<R>, Error = S::Error> + Clone,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = FallbackFuture<S, F, B>;

    /// Always ready: a service inside that is not must not keep requests from the fallback.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner_is_ready = match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => false,
        };
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let is_ready = std::mem::take(&mut self.inner_is_ready);
        let state = if request.extensions_mut().remove::<Shed>().is_some() {
            let service = self.fallback.clone();
            State::WaitsForFallback { service, request: Some(request) }
        } else if is_ready {
            State::Inner { future: self.inner.call(request) }
        } else {
            let service = take_polled(&mut self.inner);
            State::WaitsForInner { service, request: Some(request) }
        };
        FallbackFuture { state }
    }
}

pin_project! {
    /// The future of [`WithFallback`].
    #[must_use = "futures do nothing unless polled"]
    pub struct FallbackFuture<S, F, B>
    where
        S: Service<Request<B>>,
        F: Service<Request<B>>,
    {
        #[pin]
        state: State<S, F, S::Future, F::Future, Request<B>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, SFuture, FFuture, Request> {
        WaitsForInner { service: S, request: Option<Request> },
        WaitsForFallback { service: F, request: Option<Request> },
        Inner { #[pin] future: SFuture },
        Fallback { #[pin] future: FFuture },
    }
}

impl<S, F, B, R> Future for FallbackFuture<S, F, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    F: Service<Request<B>, Response = Response<R>, Error = S::Error>,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::WaitsForInner { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let request = request.take().expect("taken on leaving this state");
                    State::Inner { future: service.call(request) }
                }
                StateProj::WaitsForFallback { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let request = request.take().expect("taken on leaving this state");
                    State::Fallback { future: service.call(request) }
                }
                StateProj::Inner { future } => return future.poll(cx),
                StateProj::Fallback { future } => return future.poll(cx),
            };
            this.state.set(next);
        }
    }
}

impl<S, F, B> std::fmt::Debug for FallbackFuture<S, F, B>
where
    S: Service<Request<B>>,
    F: Service<Request<B>>,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FallbackFuture").finish_non_exhaustive()
    }
}
