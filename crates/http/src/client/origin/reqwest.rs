//! The same over reqwest, whose requests and responses are types of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use backpressure_gate::Shed;
use http::{Request, Response};
use pin_project_lite::pin_project;
use reqwest::{Body, ResponseBuilderExt, Url};
use tower_service::Service;

use super::name::Origin;
use super::service::OriginLimit;
use crate::admission::ResponseFuture;

/// reqwest's client as a service of http's types: a request carries reqwest's own as its body.
#[derive(Clone, Debug)]
struct Plain<S>(S);

pin_project! {
    /// The future of [`OriginLimit`] over `reqwest::Client`.
    #[must_use = "futures do nothing unless polled"]
    pub struct ReqwestFuture<S>
    where
        S: Service<reqwest::Request, Response = reqwest::Response>,
    {
        #[pin]
        future: ResponseFuture<Plain<S>, reqwest::Request>,
        // Where the request goes: what is refused here never gets an answer that says so.
        url: Url,
    }
}

pin_project! {
    /// The future of reqwest's client, and an answer in http's types.
    struct PlainFuture<F> {
        #[pin]
        future: F,
    }
}

impl<S> Service<reqwest::Request> for OriginLimit<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response> + Clone,
{
    type Response = reqwest::Response;
    type Error = S::Error;
    type Future = ReqwestFuture<S>;

    /// Always ready, as over any other client.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: reqwest::Request) -> Self::Future {
        let url = request.url().clone();
        let shared = self.origins.at(Origin::new(url.scheme(), url.authority()));
        let mut plain = Plain(self.inner.clone());
        let mut request = envelope(request);
        if shared.switches.exempts_some() {
            address(&mut request, &url);
        }
        ReqwestFuture { future: ResponseFuture::new(&mut plain, request, &shared), url }
    }
}

impl<S> Service<Request<reqwest::Request>> for Plain<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = PlainFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<reqwest::Request>) -> Self::Future {
        PlainFuture { future: self.0.call(request.into_body()) }
    }
}

impl<F, E> Future for PlainFuture<F>
where
    F: Future<Output = Result<reqwest::Response, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.project().future.poll(cx));
        Poll::Ready(answer.map(|response| {
            let url = response.url().clone();
            with_url(response.into(), url)
        }))
    }
}

impl<S> Future for ReqwestFuture<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
{
    type Output = Result<reqwest::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        Poll::Ready(answer.map(|response| {
            let refused = response.extensions().get::<Shed>().is_some();
            let response = if refused { with_url(response, this.url.clone()) } else { response };
            response.map(Body::wrap).into()
        }))
    }
}

/// As much of a request as is looked at on the way, and the request.
fn envelope(request: reqwest::Request) -> Request<reqwest::Request> {
    let method = request.method().clone();
    let mut envelope = Request::new(request);
    *envelope.method_mut() = method;
    envelope
}

/// The rest of the head, for a predicate to look at. A URL that is no URI leaves its path out.
fn address(envelope: &mut Request<reqwest::Request>, url: &Url) {
    *envelope.uri_mut() = url.as_str().parse().unwrap_or_default();
    *envelope.headers_mut() = envelope.body().headers().clone();
}

/// reqwest keeps a response's URL beside it, and takes it from the extensions of anybody else's.
fn with_url<B>(mut response: Response<B>, url: Url) -> Response<B> {
    let named = Response::builder().url(url).body(()).expect("a URL is all there is to it");
    response.extensions_mut().extend(named.into_parts().0.extensions);
    response
}

impl<S> fmt::Debug for ReqwestFuture<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}
