//! reqwest's requests and responses as those of `http`, which the layers read.

use std::future::Future;
use std::mem::take;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use backpressure_core::Shed;
use http::{Request, Response};
use pin_project_lite::pin_project;
use reqwest::{Body, ResponseBuilderExt, Url};
use tokio::time::Instant;
use tower_service::Service;

use super::attempt_timeout::TimedOut;
use crate::deadline::Deadline;
use crate::headers::criticality::{CRITICALITY_FIELD, criticality};

/// reqwest's client as a service of http's types: the body of a request is reqwest's own request.
#[derive(Clone, Debug)]
pub(crate) struct HttpTypes<S>(pub(crate) S);

pin_project! {
    /// The future of reqwest's client, with a response of http's types.
    pub(crate) struct HttpTypesFuture<F> {
        #[pin]
        future: F,
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

/// The same, but that the body of a response is reqwest's own response, for layers that change none: its head is lent
/// to them, and nothing is converted.
#[derive(Clone, Debug)]
pub(crate) struct WholeResponses<S>(pub(crate) S);

pin_project! {
    /// The future of [`WholeResponses`].
    pub(crate) struct WholeResponsesFuture<F> {
        #[pin]
        pub(crate) future: F,
    }
}

impl<S> Service<Request<reqwest::Request>> for WholeResponses<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
{
    type Response = Response<reqwest::Response>;
    type Error = S::Error;
    type Future = WholeResponsesFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<reqwest::Request>) -> Self::Future {
        WholeResponsesFuture { future: self.0.call(request.into_body()) }
    }
}

impl<F, E> Future for WholeResponsesFuture<F>
where
    F: Future<Output = Result<reqwest::Response, E>>,
{
    type Output = Result<Response<reqwest::Response>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.project().future.poll(cx));
        Poll::Ready(result.map(|mut whole| {
            let headers = take(whole.headers_mut());
            let extensions = take(whole.extensions_mut());
            let mut response = Response::new(whole);
            *response.status_mut() = response.body().status();
            *response.version_mut() = response.body().version();
            (*response.headers_mut(), *response.extensions_mut()) = (headers, extensions);
            response
        }))
    }
}

/// reqwest's response with its head, which was lent.
pub(crate) fn restored(response: Response<reqwest::Response>) -> reqwest::Response {
    let (head, mut whole) = response.into_parts();
    (*whole.headers_mut(), *whole.extensions_mut()) = (head.headers, head.extensions);
    whole
}

/// The response of a layer around [`HttpTypes`] as reqwest's; `url` is that of the request, for a response
/// that a layer made.
pub(crate) fn into_reqwest<B>(response: Response<B>, url: &Url) -> reqwest::Response
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Sync + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let extensions = response.extensions();
    let is_local = extensions.get::<Shed>().is_some() || extensions.get::<TimedOut>().is_some();
    let response = if is_local { with_url(response, url.clone()) } else { response };
    response.map(Body::wrap).into()
}

/// A request of http's type whose body is the whole request of reqwest's. Its head has the method, which
/// the policy reads of every request.
pub(crate) fn envelope(request: reqwest::Request) -> Request<reqwest::Request> {
    let method = request.method().clone();
    let mut envelope = Request::new(request);
    *envelope.method_mut() = method;
    envelope
}

/// The same, with what reqwest's request says of its deadline and priority, which layers read in the extensions.
pub(crate) fn envelope_with_info(request: reqwest::Request) -> Request<reqwest::Request> {
    let timeout = request.timeout().copied();
    let priority = criticality(request.headers(), &CRITICALITY_FIELD);
    let mut envelope = envelope(request);
    if let Some(deadline) = timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
        envelope.extensions_mut().insert(Deadline(deadline));
    }
    if let Some(priority) = priority {
        envelope.extensions_mut().insert(priority);
    }
    envelope
}

/// Adds the rest of the head, for a rule of the user's. A URL that is no valid URI becomes `/`.
pub(crate) fn fill_head(envelope: &mut Request<reqwest::Request>) {
    *envelope.uri_mut() = envelope.body().url().as_str().parse().unwrap_or_default();
    *envelope.headers_mut() = envelope.body().headers().clone();
}

/// Adds the URL to the extensions, where reqwest looks for it in a response that it did not make.
fn with_url<B>(mut response: Response<B>, url: Url) -> Response<B> {
    let with_url =
        Response::builder().url(url).body(()).expect("a response with only a URL is valid");
    response.extensions_mut().extend(with_url.into_parts().0.extensions);
    response
}
