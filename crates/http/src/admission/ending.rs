//! How a request ends: what its answer teaches, and until when it counts as in flight.

use backpressure_gate::{Gate, Metering, Place};
use http::{Method, Request, Response, header};

use super::PermitScope;
use crate::classify::{Classifier, Side};
use crate::held::Held;
use crate::rejection::disown;

/// What decides how an answer is taken.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) classifier: Classifier,
    pub(super) scope: PermitScope,
    /// Event streams are let go at their head: an adaptive limit would take them for work.
    frees_streams: bool,
    /// The request asked for a head alone.
    is_head: bool,
}

impl Ending {
    pub(super) const fn new(classifier: Classifier, scope: PermitScope) -> Self {
        Self { classifier, scope, frees_streams: false, is_head: false }
    }

    /// For a request through this gate: its limit may have been replaced since the last one.
    pub(super) fn of<B>(&self, request: &Request<B>, gate: &Gate) -> Self {
        let adaptive = gate.metering() == Metering::RunQueue;
        let frees_streams = adaptive || self.classifier.side() == Side::Client;
        let is_head = request.method() == Method::HEAD;
        Self { classifier: self.classifier.clone(), scope: self.scope, frees_streams, is_head }
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
        let goes_on = self.scope == PermitScope::Body
            && !self.has_no_body(response)
            && !(self.frees_streams && is_event_stream(response));
        goes_on.then_some(place)
    }

    fn has_no_body<R>(&self, response: &Response<R>) -> bool {
        let status = response.status();
        self.is_head || status.is_informational() || matches!(status.as_u16(), 204 | 304)
    }
}

fn is_event_stream<R>(response: &Response<R>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
