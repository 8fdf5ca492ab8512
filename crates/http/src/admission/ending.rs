//! How a request ends: what its answer teaches, and until when it counts as in flight.

use backpressure_gate::Place;
use http::{Method, Request, Response};

use super::PermitScope;
use crate::classify::Classifier;
use crate::held::Held;
use crate::rejection::disown;

/// What decides how an answer is taken.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) classifier: Classifier,
    pub(super) scope: PermitScope,
    /// The request asked for a head alone.
    is_head: bool,
}

impl Ending {
    pub(super) const fn new(classifier: Classifier, scope: PermitScope) -> Self {
        Self { classifier, scope, is_head: false }
    }

    pub(super) fn of<B>(&self, request: &Request<B>) -> Self {
        let is_head = request.method() == Method::HEAD;
        Self { classifier: self.classifier.clone(), scope: self.scope, is_head }
    }

    /// Nothing from below says that this request was not begun: it was.
    pub(super) fn sign<R>(&self, response: &mut Response<R>) {
        disown(response, self.classifier.side());
    }

    /// What the body of this response is to hold.
    pub(super) fn keep<R>(
        &self,
        place: Held<Place>,
        response: &Response<R>,
    ) -> Option<Held<Place>> {
        let goes_on = self.scope == PermitScope::Body && !self.has_no_body(response);
        goes_on.then_some(place)
    }

    fn has_no_body<R>(&self, response: &Response<R>) -> bool {
        let status = response.status();
        self.is_head || status.is_informational() || matches!(status.as_u16(), 204 | 304)
    }
}
