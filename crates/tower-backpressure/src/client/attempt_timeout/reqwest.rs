//! The same timeout over reqwest, whose requests and responses are types of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use reqwest::Url;
use tokio::time::Instant;
use tower_service::Service;

use super::{AttemptTimeout, timed_out};
use crate::client::classify::is_grpc_call;
use crate::client::expiry::Expiry;
use crate::client::http_types::with_url;

pin_project! {
    /// The future of [`AttemptTimeout`] over `reqwest::Client`.
    #[must_use = "futures do nothing unless polled"]
    pub struct AttemptTimeoutReqwestFuture<F> {
        #[pin]
        future: F,
        #[pin]
        expiry: Expiry,
        started: Instant,
        speaks_grpc: bool,
        // The URL of a response made here, which has no response of reqwest's to take it from.
        url: Url,
    }
}

impl<S> Service<reqwest::Request> for AttemptTimeout<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response> + Clone,
{
    type Response = reqwest::Response;
    type Error = S::Error;
    type Future = AttemptTimeoutReqwestFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: reqwest::Request) -> Self::Future {
        let timeout = self.options.timeout;
        let left = request.timeout().map_or(timeout, |&own| own.min(timeout));
        self.options.announce(request.headers_mut(), left);
        let speaks_grpc = is_grpc_call(request.headers());
        let url = request.url().clone();
        // At a timeout of its own reqwest ends the attempt, with its own error.
        let started = Instant::now();
        let expiry = Expiry::at(started + timeout);
        let future = self.inner.call(request);
        AttemptTimeoutReqwestFuture { future, expiry, started, speaks_grpc, url }
    }
}

impl<F, E> Future for AttemptTimeoutReqwestFuture<F>
where
    F: Future<Output = Result<reqwest::Response, E>>,
{
    type Output = Result<reqwest::Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.future.poll(cx) {
            return Poll::Ready(result);
        }
        ready!(this.expiry.poll_expired(cx));
        let response = timed_out(this.started.elapsed(), *this.speaks_grpc);
        Poll::Ready(Ok(with_url(response, this.url.clone())))
    }
}

impl<F> fmt::Debug for AttemptTimeoutReqwestFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptTimeoutReqwestFuture")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}
