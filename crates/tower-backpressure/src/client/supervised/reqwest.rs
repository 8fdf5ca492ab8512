//! The same service over reqwest, whose requests and responses are types of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use reqwest::Url;
use tower_service::Service;

use super::future::Answer;
use super::shared::{Key, Supervision};
use super::{Supervised, SupervisedFuture};
use crate::admission::body::ResponseBody;
use crate::client::http_types::{
    WholeResponses, envelope_with_info, fill_head, into_reqwest, restored,
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
        // The URL of a rejection made here, which has no response of reqwest's to take it from.
        url: Url,
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
        let url = request.url().clone();
        let mut client = WholeResponses(self.inner.clone());
        let mut request = envelope_with_info(request);
        let (request, state) = match self.shared.common.key {
            Key::Origin => {
                let key = OriginKey::new(url.scheme(), url.authority());
                (request, self.shared.state(key))
            }
            Key::Rule(_) => {
                fill_head(&mut request, &url);
                self.shared.state_of_request(request)
            }
        };
        let future = SupervisedFuture::new(&mut client, request, &self.shared, state);
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
                into_reqwest(response.map(ResponseBody::<reqwest::Body>::rejected), this.url)
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
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}
