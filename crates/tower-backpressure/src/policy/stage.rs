//! One layer of a policy, which a policy may have or not: a request without it passes through.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::admission::body::ResponseBody;
use crate::admission::{Policy, ResponseFuture};
use crate::inner::{poll_now, take_polled};
use crate::server::{QuotaFuture, QuotaRules};

/// A layer `L` that a request meets, or does not.
#[derive(Clone, Debug)]
pub struct Stage<S, L> {
    pub(super) inner: S,
    pub(super) layer: Option<Arc<L>>,
}

impl<S, L> Stage<S, L> {
    pub(super) const fn without_layer(inner: S) -> Self {
        Self { inner, layer: None }
    }
}

/// What a stage may have: a limit, or the rules of a quota.
pub trait Applies<S, B> {
    /// The future of a request that meets the layer.
    type Future;

    /// Begins a request that meets the layer.
    fn begin(self: &Arc<Self>, inner: &mut S, request: Request<B>) -> Self::Future;
}

pin_project! {
    /// The future of a stage. `F` is that of the layer.
    #[must_use = "futures do nothing unless polled"]
    pub struct StageFuture<S, B, F>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, Request<B>, S::Future, S::Error, F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, R, P, E, F> {
        // The request meets the layer.
        Layered { #[pin] future: F },
        // It passes, and the service inside is not ready.
        Waiting { call: Option<(S, R)> },
        // It passes, and the service inside runs.
        Passing { #[pin] future: P },
        // The service inside could not be called.
        Failed { error: Option<E> },
    }
}

impl<S, B, F> StageFuture<S, B, F>
where
    S: Service<Request<B>> + Clone,
{
    const fn layered(future: F) -> Self {
        Self { state: State::Layered { future } }
    }

    /// Calls the service inside at once if it can: keeping both for later would cost as much as the rest.
    fn passing(inner: &mut S, request: Request<B>) -> Self {
        // A service that is not ready is polled again with a real waker.
        let state = match poll_now(inner) {
            Poll::Ready(Ok(())) => State::Passing { future: inner.call(request) },
            Poll::Ready(Err(error)) => State::Failed { error: Some(error) },
            Poll::Pending => State::Waiting { call: Some((take_polled(inner), request)) },
        };
        Self { state }
    }
}

impl<S, B, F, R> Future for StageFuture<S, B, F>
where
    S: Service<Request<B>, Response = Response<R>>,
    F: Future<Output = Result<Response<ResponseBody<R>>, S::Error>>,
    R: Body,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Layered { future } => return future.poll(cx),
                // Waiting → Passing when the service inside is ready.
                StateProj::Waiting { call } => {
                    let (inner, _) = call.as_mut().expect("taken on leaving this state");
                    ready!(inner.poll_ready(cx))?;
                    let (mut inner, request) = call.take().expect("taken on leaving this state");
                    let future = inner.call(request);
                    this.state.set(State::Passing { future });
                }
                StateProj::Passing { future } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(ResponseBody::unguarded(response)));
                }
                StateProj::Failed { error } => {
                    let error = error.take().expect("not polled after completion");
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl<S, B, R, L> Service<Request<B>> for Stage<S, L>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    L: Applies<S, B>,
    L::Future: Future<Output = Result<Response<ResponseBody<R>>, S::Error>>,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = StageFuture<S, B, L::Future>;

    /// Always ready, as [`Limited`](crate::Limited) and [`WithQuota`](crate::server::WithQuota) are.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match &self.layer {
            Some(layer) => StageFuture::layered(layer.begin(&mut self.inner, request)),
            None => StageFuture::passing(&mut self.inner, request),
        }
    }
}

impl<S, B, R> Applies<S, B> for Policy
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: 'static,
    R: Body + Send + 'static,
{
    type Future = ResponseFuture<S, B>;

    fn begin(self: &Arc<Self>, inner: &mut S, request: Request<B>) -> Self::Future {
        ResponseFuture::new::<R>(inner, request, self)
    }
}

impl<S, B, R> Applies<S, B> for QuotaRules
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: 'static,
    R: Body + Send + 'static,
{
    type Future = QuotaFuture<S, B>;

    fn begin(self: &Arc<Self>, inner: &mut S, request: Request<B>) -> Self::Future {
        QuotaFuture::new(inner, request, self)
    }
}

impl<S, B, F> fmt::Debug for StageFuture<S, B, F>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageFuture").finish_non_exhaustive()
    }
}
