//! reqwest's requests and responses as those of `http`, which the layers read.

use std::future::Future;
use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use reqwest::{Body, ResponseBuilderExt, Url};
use tokio::time::Instant;
use tower_service::Service;

use super::origin_key::OriginKey;
use super::replay::has_url;
use crate::admission::classify::OfAnotherOrigin;
use crate::deadline::Deadline;
use crate::headers::criticality::{CRITICALITY_FIELD, criticality};
use crate::inner::{Inner, poll_now, take_polled};

/// reqwest's client as a service of http's types, for layers that change neither bodies nor URLs. The body of a request
/// is reqwest's own request and the body of a response its own response, whose head is lent to them.
#[derive(Clone, Debug)]
pub(crate) struct WholeResponses<S> {
    client: S,
    origin: Option<Arc<str>>,
}

/// The same for one call: the client is called in place, and copied only where it is kept.
#[derive(Debug)]
pub(crate) struct CalledInPlace<'a, S> {
    pub(crate) client: &'a mut S,
    /// The name of the origin that is asked. Failures of another one, to which the client has followed a redirection,
    /// are marked. `None`: all count.
    pub(crate) origin: Option<&'a Arc<str>>,
}

impl<S> Inner<WholeResponses<S>, Request<reqwest::Request>> for CalledInPlace<'_, S>
where
    S: Service<reqwest::Request, Response = reqwest::Response> + Clone,
{
    #[inline(always)]
    fn poll_now(&mut self) -> Poll<Result<(), S::Error>> {
        poll_now(self.client)
    }

    #[inline(always)]
    fn call(&mut self, request: Request<reqwest::Request>) -> WholeResponsesFuture<S::Future> {
        let future = self.client.call(request.into_body());
        WholeResponsesFuture { future, origin: self.origin.cloned() }
    }

    fn take_polled(&mut self) -> WholeResponses<S> {
        WholeResponses { client: take_polled(self.client), origin: self.origin.cloned() }
    }
}

pin_project! {
    /// The future of [`WholeResponses`].
    pub(crate) struct WholeResponsesFuture<F> {
        #[pin]
        future: F,
        origin: Option<Arc<str>>,
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
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<reqwest::Request>) -> Self::Future {
        let future = self.client.call(request.into_body());
        WholeResponsesFuture { future, origin: self.origin.clone() }
    }
}

impl<F, E> Future for WholeResponsesFuture<F>
where
    F: Future<Output = Result<reqwest::Response, E>>,
{
    type Output = Result<Response<reqwest::Response>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        Poll::Ready(result.map(|mut whole| {
            if !whole.status().is_success() && is_of_another(&whole, this.origin.as_deref()) {
                whole.extensions_mut().insert(OfAnotherOrigin);
            }
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

/// Whether another origin has sent this response.
fn is_of_another(response: &reqwest::Response, origin: Option<&str>) -> bool {
    let Some(origin) = origin.filter(|_| has_url(response)) else { return false };
    let url = response.url();
    let mut name = String::new();
    OriginKey::new(url.scheme(), url.authority()).write_to(&mut name);
    name != origin
}

/// reqwest's response with its head, which was lent.
pub(crate) fn restored(response: Response<reqwest::Response>) -> reqwest::Response {
    let (head, mut whole) = response.into_parts();
    (*whole.headers_mut(), *whole.extensions_mut()) = (head.headers, head.extensions);
    whole
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

/// A response that reqwest did not make, with the URL, which reqwest looks for in its extensions.
pub(crate) fn with_url(mut response: Response<impl Into<Body>>, url: Url) -> reqwest::Response {
    let mut builder = Response::builder();
    if let Some(extensions) = builder.extensions_mut() {
        *extensions = take(response.extensions_mut());
    }
    let head = builder.url(url).body(()).expect("a response with only a URL is valid");
    *response.extensions_mut() = head.into_parts().0.extensions;
    response.into()
}
