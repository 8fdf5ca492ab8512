//! The answer to a request that is turned away.

use backpressure_gate::{Reason, Shed};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};

use crate::content_length::content_length;
use crate::marker::{MARK, SHED_REASON};

mod grpc;
mod seconds;
mod ticket;

pub use ticket::RETURN_TICKET;
pub(crate) use ticket::Tickets;

use seconds::whole_seconds;

/// The value of [`SHED_REASON`] where the reason is not revealed.
const UNSAID: HeaderValue = HeaderValue::from_static("refused");

/// Bodies up to this size that were not read do no harm to a connection that is kept.
const SMALL_BODY: u64 = 64 * 1024;

/// Makes refusals. Everything but the Retry-After is made beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    status: StatusCode,
    reveals: bool,
    bodies: [Bytes; Reason::ALL.len()],
}

/// What of a request matters for its refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    speaks_grpc: bool,
    /// HTTP/1 with a body so large that nobody should have to read it.
    hangs_up: bool,
}

impl Rejection {
    /// # Panics
    /// When `status` is neither 503 nor 429.
    pub(crate) fn new(status: StatusCode) -> Self {
        Self::build(status, true)
    }

    pub(crate) fn with_status(&self, status: StatusCode) -> Self {
        Self::build(status, self.reveals)
    }

    pub(crate) fn with_reason(&self, reveals: bool) -> Self {
        Self::build(self.status, reveals)
    }

    /// `ticket` lets the caller back in before new requests.
    pub(crate) fn answer(
        &self,
        shed: Shed,
        caller: Caller,
        ticket: Option<HeaderValue>,
    ) -> Response<Bytes> {
        let mut response =
            if caller.speaks_grpc { grpc::answer(shed) } else { self.answer_http(shed) };
        if caller.hangs_up {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        let reason = if self.reveals { name(shed.reason) } else { UNSAID };
        response.headers_mut().insert(SHED_REASON, reason);
        if let Some(ticket) = ticket {
            response.headers_mut().insert(RETURN_TICKET, ticket);
        }
        response.extensions_mut().insert(shed);
        response
    }

    fn answer_http(&self, shed: Shed) -> Response<Bytes> {
        // Room for the most there can be: those below, the connection, the marker and the ticket.
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::RETRY_AFTER, whole_seconds(shed.retry_after));
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let mut response = Response::new(self.bodies[index(shed.reason)].clone());
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }

    fn build(status: StatusCode, reveals: bool) -> Self {
        let allowed = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        assert!(allowed.contains(&status), "the status of a refusal must be 503 or 429");
        let bodies = Reason::ALL.map(|reason| problem(status, reveals.then_some(reason)));
        Self { status, reveals, bodies }
    }
}

impl Caller {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self { speaks_grpc: grpc::speaks(request), hangs_up: has_large_body(request) }
    }

    /// Whether its refusals say when to come back in whole seconds; gRPC counts in milliseconds.
    pub(crate) const fn hears_seconds(self) -> bool {
        !self.speaks_grpc
    }
}

/// Takes the marker off a response that came from somewhere else: this service did begin the
/// request, whatever a service behind it says of its own.
pub(crate) fn disown<B>(response: &mut Response<B>) {
    let marked = response.headers().contains_key(&MARK);
    if marked && response.extensions().get::<Shed>().is_none() {
        response.headers_mut().remove(SHED_REASON);
    }
}

/// RFC 9457, with the type that the RateLimit fields draft registers for this.
fn problem(status: StatusCode, reason: Option<Reason>) -> Bytes {
    let title = status.canonical_reason().unwrap_or_default();
    let code = status.as_u16();
    let reason = reason.map(|reason| format!(r#","reason":"{reason}""#)).unwrap_or_default();
    Bytes::from(format!(
        r#"{{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","title":"{title}","status":{code},"detail":"The request was not begun. Send it again after Retry-After."{reason}}}"#
    ))
}

/// RFC 9110, section 9.3: on HTTP/1 a body that nobody reads stands in the way of the next request.
fn has_large_body<B>(request: &Request<B>) -> bool {
    if request.version() > Version::HTTP_11 {
        return false;
    }
    let length = content_length(request.headers());
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    chunked || length.is_some_and(|length| length > SMALL_BODY)
}

fn index(reason: Reason) -> usize {
    Reason::ALL.iter().position(|&known| known == reason).unwrap_or(0)
}

fn name(reason: Reason) -> HeaderValue {
    HeaderValue::from_static(reason.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SHED: Shed = Shed { reason: Reason::Limit, retry_after: Duration::from_millis(300) };

    fn answer(rejection: &Rejection, request: Request<()>) -> Response<Bytes> {
        rejection.answer(SHED, Caller::of(&request), None)
    }

    #[test]
    fn a_refusal_says_when_to_come_back_and_why_and_is_not_cached() {
        let response = answer(&Rejection::new(StatusCode::SERVICE_UNAVAILABLE), Request::new(()));
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["x-shed-reason"], "limit");
        let body = std::str::from_utf8(response.body()).expect("text");
        assert!(body.contains(r#""status":503"#) && body.contains(r#""reason":"limit""#), "{body}");
    }

    #[test]
    fn an_unrevealed_reason_is_nowhere_in_the_answer() {
        let rejection = Rejection::new(StatusCode::TOO_MANY_REQUESTS).with_reason(false);
        let response = answer(&rejection, Request::new(()));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["x-shed-reason"], "refused");
        assert!(!std::str::from_utf8(response.body()).expect("text").contains("limit"));
    }

    #[test]
    fn a_large_upload_is_not_waited_for() {
        let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE);
        let upload = |length: &str| {
            Request::builder().header("content-length", length).body(()).expect("a request")
        };
        assert!(!answer(&rejection, upload("5")).headers().contains_key("connection"));
        assert_eq!(answer(&rejection, upload("10000000")).headers()["connection"], "close");
    }

    #[test]
    fn grpc_is_refused_in_its_own_words() {
        let call = Request::builder().header("content-type", "application/grpc+proto").body(());
        let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE);
        let response = answer(&rejection, call.expect("a request"));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-retry-pushback-ms"], "1000");
        assert!(response.body().is_empty());
    }

    #[test]
    fn the_marker_of_another_service_is_taken_off() {
        let mut theirs = Response::builder().status(503).header(SHED_REASON, "limit").body(());
        let theirs = theirs.as_mut().expect("a response");
        disown(theirs);
        assert!(!theirs.headers().contains_key(SHED_REASON));

        let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE);
        let mut ours = answer(&rejection, Request::new(()));
        disown(&mut ours);
        assert!(ours.headers().contains_key(SHED_REASON));
    }

    #[test]
    #[should_panic(expected = "must be 503 or 429")]
    fn no_other_status_refuses() {
        let _ = Rejection::new(StatusCode::OK);
    }
}
