//! The same service over reqwest, whose requests and responses are types of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Request;
use pin_project_lite::pin_project;
use reqwest::Url;
use tower_service::Service;

use super::future::Answer;
use super::shared::{Key, Supervision};
use super::{Supervised, SupervisedFuture};
use crate::client::http_types::{
    CalledInPlace, WholeResponses, envelope_with_info, fill_head, restored, with_url,
};
use crate::client::origin_key::OriginKey;

pin_project! {
    /// The future of [`Supervised`] over `reqwest::Client`.
    #[must_use = "futures do nothing unless polled"]
    pub struct SupervisedReqwestFuture<S, T>
    where
        S: Service<reqwest::Request, Response = reqwest::Response>,
        T: Supervision,
    {
        #[pin]
        future: SupervisedFuture<WholeResponses<S>, T, reqwest::Request>,
        // The URL of a rejection made here, which has no response of reqwest's to take it from; `None` where the request
        // was sent at once.
        url: Option<Box<Url>>,
    }
}

impl<S, T> Service<reqwest::Request> for Supervised<S, T>
where
    S: Service<reqwest::Request, Response = reqwest::Response> + Clone,
    T: Supervision,
{
    type Response = reqwest::Response;
    type Error = S::Error;
    type Future = SupervisedReqwestFuture<S, T>;

    /// Always ready, as over other clients.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: reqwest::Request) -> Self::Future {
        let mut request = envelope_with_info(request);
        let is_of_origin = matches!(self.shared.common.key, Key::Origin);
        let (request, state) = match is_of_origin {
            true => {
                let url = request.body().url();
                let state = self.shared.state(OriginKey::new(url.scheme(), url.authority()));
                (request, state)
            }
            false => {
                fill_head(&mut request);
                self.shared.state_of_request(request)
            }
        };
        let name = is_of_origin.then(|| Arc::clone(&state.name));
        let mut url = None;
        let look = |request: &Request<reqwest::Request>| {
            url = Some(Box::new(request.body().url().clone()))
        };
        let mut client = CalledInPlace { client: &mut self.inner, origin: name.as_ref() };
        let future = SupervisedFuture::new(&mut client, request, &self.shared, state, look);
        SupervisedReqwestFuture { future, url }
    }
}

impl<S, T> Future for SupervisedReqwestFuture<S, T>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
    T: Supervision,
{
    type Output = Result<reqwest::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll_answer(cx));
        Poll::Ready(answer.map(|answer| match answer {
            Answer::Sent(response) => restored(response),
            Answer::Rejected(response) => {
                let url = this.url.take().expect("a request that was sent at once is not rejected");
                with_url(response, *url)
            }
        }))
    }
}

impl<S, T> fmt::Debug for SupervisedReqwestFuture<S, T>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
    T: Supervision,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedReqwestFuture")
            .field("url", &self.url.as_ref().map(|url| url.as_str()))
            .finish_non_exhaustive()
    }
}
