//! What a response means for the limit, and how long its request counts as in flight.

use http::{Method, Request, Response};

use super::classify::{Classifier, Side};
use super::rejection::remove_not_begun_marks;
use super::streams::StreamCheck;

/// Until when a request counts as in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermitScope {
    /// Until the head of the response.
    Head,
    /// Until the last frame of the body, or until the body is dropped. A permit stands for work: a
    /// reader that stops reading holds the memory of its response and no capacity. Under an adaptive limit
    /// a body counts while the service produces its next frame, and a stream on which nothing happens
    /// counts apart after a while; under a fixed one after its reader has not read for 5 to 10 seconds.
    #[default]
    Body,
}

/// The policy of a layer, and what it needs to know of one request.
#[derive(Clone, Debug)]
pub(crate) struct ResponsePolicy {
    pub(crate) classifier: Classifier,
    pub(crate) scope: PermitScope,
    is_head_request: bool,
    /// What decides whether the response is a stream; `None` where that makes no difference.
    pub(super) stream: Option<Box<StreamCheck>>,
}

impl ResponsePolicy {
    pub(crate) fn new(side: Side) -> Self {
        let (classifier, scope) = (Classifier::new(side), PermitScope::default());
        Self { classifier, scope, is_head_request: false, stream: None }
    }

    /// The policy for the response to this request.
    pub(crate) fn of<B>(&self, request: &Request<B>) -> Self {
        let is_head_request = request.method() == Method::HEAD;
        let classifier = self.classifier.clone();
        Self { classifier, scope: self.scope, is_head_request, stream: None }
    }

    /// Removes marks that say the request was not begun: it was. Returns whether there were any.
    pub(crate) fn mark_begun<R>(&self, response: &mut Response<R>) -> bool {
        remove_not_begun_marks(response, self.classifier.side())
    }

    /// Whether the request stays in flight while the body is sent. A stream that counts as such does so in
    /// any case.
    pub(crate) fn body_holds_guard<R>(&self, response: &Response<R>, is_stream: bool) -> bool {
        (is_stream || self.scope == PermitScope::Body) && !self.has_no_body(response)
    }

    fn has_no_body<R>(&self, response: &Response<R>) -> bool {
        let status = response.status();
        self.is_head_request || status.is_informational() || matches!(status.as_u16(), 204 | 304)
    }
}
