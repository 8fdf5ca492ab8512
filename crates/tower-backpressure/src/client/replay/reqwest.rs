//! The traits of the retry layer for reqwest's types.

use http::header::HeaderMap;
use http::method::Method;
use http::status::StatusCode;
use http::{Extensions, Response};
use tokio::time::Instant;

use super::{Replay, RequestHead, ResponseHead};
use crate::client::attempts::Attempts;
use crate::client::connection::Connection;
use crate::client::gave_up::GaveUp;
use crate::client::timeout_field;
use crate::request_info::RequestInfo;

impl RequestHead for reqwest::Request {
    fn method(&self) -> &Method {
        self.method()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn origin(&self) -> (&str, &str) {
        (self.url().scheme(), self.url().authority())
    }

    /// The response's URL has no fragment.
    fn url(&self) -> Option<&str> {
        self.url().as_str().split('#').next()
    }

    fn identity(&self) -> usize {
        self.url().as_str().as_ptr().addr()
    }

    /// The timeout of the request. That of the client cannot be read.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        now.checked_add(*self.timeout()?)
    }

    /// Each attempt gets what is left as its timeout, so that reqwest ends it at the deadline.
    fn prepare(&mut self, _attempt: Attempts, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            *self.timeout_mut() = Some(left);
            timeout_field::refresh(self.headers_mut(), left);
        }
    }

    /// reqwest does not tell.
    fn connection(&mut self) -> Option<Connection> {
        None
    }

    /// Its deadline becomes the timeout; there are no extensions for the rest.
    fn carry(&mut self, info: RequestInfo) {
        let left = info.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = self.timeout().copied();
        *self.timeout_mut() = left.into_iter().chain(timeout).min();
    }
}

impl Replay for reqwest::Request {
    fn replay(&self) -> Option<Self> {
        self.try_clone()
    }
}

impl ResponseHead for reqwest::Response {
    type Body = reqwest::Body;
    type Output = Self;

    const IS_CUT_BY_LAYER: bool = false;

    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn url(&self) -> Option<&str> {
        has_url(self).then(|| self.url().as_str())
    }

    fn extensions(&self) -> &Extensions {
        self.extensions()
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }

    fn into_body(self) -> reqwest::Body {
        Response::from(self).into_body()
    }

    fn into_output(self) -> Self {
        self
    }

    /// reqwest ends an attempt at the timeout of its request, with an error of its own.
    fn deadline_exceeded(_is_grpc: bool, _gave_up: GaveUp) -> Option<Self> {
        None
    }
}

/// Whether a response has a URL of its own.
pub(in crate::client) fn has_url(response: &reqwest::Response) -> bool {
    response.url().host_str() != Some(HOST_OF_NO_URL)
}

/// The host in the URL of a response that was made without one, from one of http's type.
const HOST_OF_NO_URL: &str = "no.url.provided.local";
