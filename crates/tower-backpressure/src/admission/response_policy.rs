//! What a response means for the limit, and how long its request counts as in flight.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};

use super::classify::{Classifier, Side};
use super::guard::Guard;
use super::rejection::{body_without_marks, remove_not_begun_marks};
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
    /// Whether there is a connection that a response can close.
    can_close: bool,
    /// What decides whether the response is a stream; `None` where that makes no difference.
    pub(super) stream: Option<Box<StreamCheck>>,
}

impl ResponsePolicy {
    pub(crate) fn new(side: Side) -> Self {
        let (classifier, scope) = (Classifier::new(side), PermitScope::default());
        Self { classifier, scope, is_head_request: false, can_close: false, stream: None }
    }

    /// The policy for the response to this request.
    pub(crate) fn of<B>(&self, request: &Request<B>) -> Self {
        let is_head_request = request.method() == Method::HEAD;
        let classifier = self.classifier.clone();
        let can_close = classifier.side() == Side::Server && request.version() <= Version::HTTP_11;
        Self { classifier, scope: self.scope, is_head_request, can_close, stream: None }
    }

    /// Removes marks that say the request was not begun: it was. Returns whether there were any.
    pub(crate) fn mark_begun<R>(&self, response: &mut Response<R>) -> bool {
        remove_not_begun_marks(response, self.classifier.side())
    }

    /// The head of the response is there. Removes marks that say the request was not begun: it was. Returns what is
    /// sent instead of a stream too many.
    #[inline(always)]
    pub(super) fn read_head<R>(
        &self,
        response: &mut Response<R>,
        guard: &mut Guard,
    ) -> Option<Response<Bytes>> {
        let had_marks = self.mark_begun(response);
        if had_marks {
            guard.marks_removed();
        }
        if self.can_close && guard.is_stopping() {
            close_connection(response);
        }
        if had_marks {
            return replace_body(response);
        }
        self.stream.as_ref().and_then(|check| check.admit(response, guard))
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

/// The response whose marks were removed, with another body where they were in the body too.
#[cold]
pub(crate) fn replace_body<R>(response: &mut Response<R>) -> Option<Response<Bytes>> {
    let mut replaced = Response::new(body_without_marks(response)?);
    *replaced.status_mut() = response.status();
    *replaced.version_mut() = response.version();
    *replaced.headers_mut() = std::mem::take(response.headers_mut());
    *replaced.extensions_mut() = std::mem::take(response.extensions_mut());
    Some(replaced)
}

/// The process is about to end: the client's next request needs another connection. RFC 9112, section 9.6.
#[cold]
fn close_connection<R>(response: &mut Response<R>) {
    // An upgraded connection serves no other request.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
