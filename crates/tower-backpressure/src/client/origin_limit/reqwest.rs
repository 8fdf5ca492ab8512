//! The limit per origin over reqwest, whose requests and responses are types of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use reqwest::Url;
use tower_service::Service;

use super::OriginLimit;
use crate::admission::ResponseFuture;
use crate::client::http_types::{HttpTypes, envelope_with_info, fill_head, into_reqwest};
use crate::client::origin_key::OriginKey;

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
        let mut request = envelope_with_info(request);
        if policy.switches.exempts_some() {
            fill_head(&mut request);
        }
        ReqwestFuture {
            future: ResponseFuture::new::<reqwest::Body>(&mut client, request, &policy),
            url,
        }
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
        Poll::Ready(result.map(|response| into_reqwest(response, this.url)))
    }
}

impl<S> fmt::Debug for ReqwestFuture<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}
