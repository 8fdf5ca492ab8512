//! Until when a request counts as in flight.

use backpressure_gate::Place;
use http::{Method, Request, Response, header};

use super::PermitScope;
use crate::held::Held;

/// What decides whether a place goes on with the body of a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) scope: PermitScope,
    /// Event streams are let go at their head.
    pub(super) frees_streams: bool,
    /// The request asked for a head alone.
    is_head: bool,
}

impl Ending {
    pub(super) const fn new(scope: PermitScope, frees_streams: bool) -> Self {
        Self { scope, frees_streams, is_head: false }
    }

    pub(super) fn of<B>(self, request: &Request<B>) -> Self {
        Self { is_head: request.method() == Method::HEAD, ..self }
    }

    /// What the body of this response is to hold.
    pub(super) fn keep<R>(self, place: Held<Place>, response: &Response<R>) -> Option<Held<Place>> {
        let goes_on = self.scope == PermitScope::Body
            && !self.has_no_body(response)
            && !(self.frees_streams && is_event_stream(response));
        goes_on.then_some(place)
    }

    fn has_no_body<R>(self, response: &Response<R>) -> bool {
        let status = response.status();
        self.is_head || status.is_informational() || matches!(status.as_u16(), 204 | 304)
    }
}

fn is_event_stream<R>(response: &Response<R>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
