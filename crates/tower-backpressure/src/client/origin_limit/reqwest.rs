//! The limit per origin over reqwest, whose requests and responses are types of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use backpressure_core::Shed;
use http::{Request, Response};
use pin_project_lite::pin_project;
use reqwest::{Body, ResponseBuilderExt, Url};
use tower_service::Service;

use super::OriginLimit;
use crate::admission::ResponseFuture;
use crate::client::origin_key::OriginKey;

/// reqwest's client as a service of http's types: the body of a request is reqwest's own request.
#[derive(Clone, Debug)]
struct HttpTypes<S>(S);

pin_project! {
    /// The future of [`OriginLimit`] over `reqwest::Client`.
    #[must_use = "futures do nothing unless polled"]
    pub struct ReqwestFuture<S>
    where
        S: Service<reqwest::Request, Response = reqwest::Response>,
    {
        #[pin]
        future: ResponseFuture<HttpTypes<S>, reqwest::Request>,
        // The URL of a rejection made here, which has no response of reqwest's to take it from.
        url: Url,
    }
}

pin_project! {
    /// The future of reqwest's client, with a response of http's types.
    struct HttpTypesFuture<F> {
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

    /// Always ready, as over other clients.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: reqwest::Request) -> Self::Future {
        let url = request.url().clone();
        let policy = self.policies.policy(OriginKey::new(url.scheme(), url.authority()));
        let mut client = HttpTypes(self.inner.clone());
        let mut request = envelope(request);
        if policy.switches.exempts_some() {
            fill_head(&mut request, &url);
        }
        ReqwestFuture { future: ResponseFuture::new(&mut client, request, &policy), url }
    }
}

impl<S> Service<Request<reqwest::Request>> for HttpTypes<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = HttpTypesFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<reqwest::Request>) -> Self::Future {
        HttpTypesFuture { future: self.0.call(request.into_body()) }
    }
}

impl<F, E> Future for HttpTypesFuture<F>
where
    F: Future<Output = Result<reqwest::Response, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.project().future.poll(cx));
        Poll::Ready(result.map(|response| {
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
        let result = ready!(this.future.poll(cx));
        Poll::Ready(result.map(|response| {
            let rejected = response.extensions().get::<Shed>().is_some();
            let response = if rejected { with_url(response, this.url.clone()) } else { response };
            response.map(Body::wrap).into()
        }))
    }
}

/// A request of http's type whose body is the whole request of reqwest's. Its head has the method, which
/// the policy reads of every request.
fn envelope(request: reqwest::Request) -> Request<reqwest::Request> {
    let method = request.method().clone();
    let mut envelope = Request::new(request);
    *envelope.method_mut() = method;
    envelope
}

/// Adds the rest of the head, for an exempt predicate. A URL that is no valid URI becomes `/`.
fn fill_head(envelope: &mut Request<reqwest::Request>, url: &Url) {
    *envelope.uri_mut() = url.as_str().parse().unwrap_or_default();
    *envelope.headers_mut() = envelope.body().headers().clone();
}

/// Adds the URL to the extensions, where reqwest looks for it in a response that it did not make.
fn with_url<B>(mut response: Response<B>, url: Url) -> Response<B> {
    let with_url =
        Response::builder().url(url).body(()).expect("a response with only a URL is valid");
    response.extensions_mut().extend(with_url.into_parts().0.extensions);
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
