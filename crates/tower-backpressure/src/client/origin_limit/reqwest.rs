//! The limit per origin over reqwest, whose requests and responses are types of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use reqwest::{Body, Url};
use tower_service::Service;

use super::OriginLimit;
use crate::admission::body::{Length, ResponseBody, Size};
use crate::admission::guard::Guard;
use crate::admission::{Deliver, ResponseFuture};
use crate::client::http_types::{
    CalledInPlace, WholeResponses, envelope_with_info, fill_head, restored, with_url,
};
use crate::client::origin_key::OriginKey;

pin_project! {
    /// The future of [`OriginLimit`] over `reqwest::Client`.
    #[must_use = "futures do nothing unless polled"]
    pub struct ReqwestFuture<S>
    where
        S: Service<reqwest::Request, Response = reqwest::Response>,
    {
        #[pin]
        future: ResponseFuture<WholeResponses<S>, reqwest::Request>,
        // The URL of a rejection made here, which has no response of reqwest's to take it from; `None` where the request
        // was sent at once.
        url: Option<Box<Url>>,
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
        let origin = OriginKey::new(request.url().scheme(), request.url().authority());
        let policy = self.policies.policy(origin);
        let mut request = envelope_with_info(request);
        if policy.switches.exempts_some() {
            fill_head(&mut request);
        }
        let mut url = None;
        let look = |request: &Request<reqwest::Request>| {
            url = Some(Box::new(request.body().url().clone()))
        };
        let origin = policy.telemetry.origin();
        let mut client = CalledInPlace { client: &mut self.inner, origin };
        let future = ResponseFuture::showing::<Body>(&mut client, request, &policy, look);
        ReqwestFuture { future, url }
    }
}

impl<S> Future for ReqwestFuture<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
{
    type Output = Result<reqwest::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.future.poll_delivering(cx, Whole { url: this.url })
    }
}

/// reqwest's own response. It is taken apart only where its body has to hold the guard.
struct Whole<'a> {
    url: &'a mut Option<Box<Url>>,
}

impl Deliver<reqwest::Response> for Whole<'_> {
    type Output = reqwest::Response;
    type Body = Body;

    fn length_of(body: &reqwest::Response) -> Length {
        let exact = body.content_length();
        Length { exact, is_end: exact == Some(0) }
    }

    #[inline(always)]
    fn served(
        self,
        response: Response<reqwest::Response>,
        guard: &mut Option<Guard>,
        size: Size,
    ) -> Self::Output {
        if guard.is_none() {
            return restored(response);
        }
        let url = response.body().url().clone();
        let held = |whole: reqwest::Response| {
            Body::wrap(ResponseBody::around(Body::from(whole), guard.take(), size))
        };
        with_url(response.map(held), url)
    }

    fn replaced(self, response: Response<reqwest::Response>, by: Response<Bytes>) -> Self::Output {
        with_url(by, response.body().url().clone())
    }

    fn rejected(self, response: Response<Bytes>) -> Self::Output {
        let url = self.url.take().expect("a request that was sent at once is not rejected");
        with_url(response, *url)
    }
}

impl<S> fmt::Debug for ReqwestFuture<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture")
            .field("url", &self.url.as_ref().map(|url| url.as_str()))
            .finish_non_exhaustive()
    }
}
