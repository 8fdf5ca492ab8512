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
use crate::admission::classify::Side;
use crate::admission::{Policy, ResponseFuture};
use crate::inner::{poll_now, take_polled};
use crate::server::{QuotaFuture, QuotaRules};

/// A limit that a request meets, or does not.
#[derive(Clone, Debug)]
pub struct LimitStage<S> {
    pub(super) inner: S,
    pub(super) policy: Option<Arc<Policy>>,
}

/// A quota that a request meets, or does not.
#[derive(Clone, Debug)]
pub struct QuotaStage<S> {
    pub(super) inner: S,
    pub(super) rules: Option<Arc<QuotaRules>>,
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
                    return Poll::Ready(Ok(ResponseBody::admitted(response, None, Side::Server)));
                }
                StateProj::Failed { error } => {
                    let error = error.take().expect("not polled after completion");
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl<S, B, R> Service<Request<B>> for LimitStage<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: 'static,
    R: Body + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = StageFuture<S, B, ResponseFuture<S, B>>;

    /// Always ready, as [`Limited`](crate::Limited) is.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match &self.policy {
            Some(policy) => {
                StageFuture::layered(ResponseFuture::new(&mut self.inner, request, policy))
            }
            None => StageFuture::passing(&mut self.inner, request),
        }
    }
}

impl<S, B, R> Service<Request<B>> for QuotaStage<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: 'static,
    R: Body + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = StageFuture<S, B, QuotaFuture<S, B>>;

    /// Always ready, as [`WithQuota`](crate::server::WithQuota) is.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match &self.rules {
            Some(rules) => StageFuture::layered(QuotaFuture::new(&mut self.inner, request, rules)),
            None => StageFuture::passing(&mut self.inner, request),
        }
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
