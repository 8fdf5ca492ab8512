//! The answer to a request that is turned away.

use backpressure_gate::{Reason, Shed};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};

use crate::classify::Side;
use crate::content_length::content_length;
use crate::marker::{MARK, Refused, SHED_REASON};

mod grpc;
mod seconds;
mod ticket;

pub use ticket::RETURN_TICKET;
pub(crate) use ticket::Tickets;

use seconds::whole_seconds;

/// The value of [`SHED_REASON`] where the reason is not revealed.
const UNSAID: HeaderValue = HeaderValue::from_static("refused");

/// A connection whose body is no larger is kept, as reading the rest costs less than a new one. The
/// client of a larger one is told to stop.
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
    upload: Upload,
}

/// What an HTTP/1 client still sends, which decides over its connection (RFC 9112, section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    /// Nothing, or over HTTP/2, where a stream's body is in the way of no other stream.
    Nothing,
    /// So little that it is read in any case.
    Small,
    /// So much, or nobody says how much, that it should stop.
    Large,
    /// It waits to be told that it may: RFC 9110, section 10.1.1.
    OnDemand,
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
        if caller.upload != Upload::Nothing {
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
        Self { speaks_grpc: grpc::speaks(request), upload: upload(request) }
    }

    /// Whether the body of the request should be read. One that comes on demand would be asked for
    /// by being read.
    pub(crate) fn should_be_read(self) -> bool {
        self.upload != Upload::OnDemand
    }

    /// The same, given that its body is being read: a small one leaves the connection as it was.
    pub(crate) fn being_read(self) -> Self {
        let upload = if self.upload == Upload::Small { Upload::Nothing } else { self.upload };
        Self { upload, ..self }
    }

    /// The same in this process: there is no connection to close.
    pub(crate) const fn without_connection(self) -> Self {
        Self { upload: Upload::Nothing, ..self }
    }

    /// Whether its refusals say when to come back in whole seconds; gRPC counts in milliseconds.
    pub(crate) const fn hears_seconds(self) -> bool {
        !self.speaks_grpc
    }
}

/// Takes every mark that says "not begun" off a response from below a layer that admitted the
/// request: a handler may have run, and may have done half its work before it passed this on.
///
/// There is no telling a refusal that reached us directly from one that a handler forwards, as a
/// handler can forward the very request it was given. So the marks always go: the header, the
/// [`Shed`], and a 429 of ours, which says the same without a header. Layers further out still
/// learn that it was no work.
pub(crate) fn disown<B>(response: &mut Response<B>, side: Side) {
    let ours = disown_ours(response);
    // Over the wire a client hears of it from the server that refused, which is whom to believe.
    if (ours || side == Side::Server) && response.headers().contains_key(&MARK) {
        response.headers_mut().remove(SHED_REASON);
    }
}

/// Whether a layer in this process refused it.
fn disown_ours<B>(response: &mut Response<B>) -> bool {
    let Some(shed) = response.extensions().get::<Shed>().copied() else { return false };
    let extensions = response.extensions_mut();
    extensions.remove::<Shed>();
    extensions.insert(Refused(shed.reason));
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    true
}

/// RFC 9457, with the type that the RateLimit fields draft registers for this. The text claims nothing
/// that stops to be true when a handler passes it on.
fn problem(status: StatusCode, reason: Option<Reason>) -> Bytes {
    let title = status.canonical_reason().unwrap_or_default();
    let code = status.as_u16();
    let reason = reason.map(|reason| format!(r#","reason":"{reason}""#)).unwrap_or_default();
    Bytes::from(format!(
        r#"{{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","title":"{title}","status":{code},"detail":"The service is at capacity. It expects to have room after Retry-After."{reason}}}"#
    ))
}

fn upload<B>(request: &Request<B>) -> Upload {
    let headers = request.headers();
    if request.version() > Version::HTTP_11 {
        return Upload::Nothing;
    }
    let expects = headers.get(header::EXPECT).map(HeaderValue::as_bytes);
    let on_demand = expects.is_some_and(|it| it.eq_ignore_ascii_case(b"100-continue"));
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    match content_length(headers) {
        _ if on_demand => Upload::OnDemand,
        _ if chunked => Upload::Large,
        None | Some(0) => Upload::Nothing,
        Some(..=SMALL_BODY) => Upload::Small,
        Some(_) => Upload::Large,
    }
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
    fn a_connection_is_kept_if_its_body_is_small_and_read_and_announced_closed_otherwise() {
        let post = |name: &str, value: &str| {
            Caller::of(&Request::builder().header(name, value).body(()).expect("a request"))
        };
        let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE);
        let closes =
            |caller| rejection.answer(SHED, caller, None).headers().contains_key("connection");
        let small = post("content-length", "5");
        assert!(closes(small) && !closes(small.being_read()));
        for large in [post("content-length", "10000000"), post("transfer-encoding", "chunked")] {
            assert!(closes(large) && closes(large.being_read()) && large.should_be_read());
        }
        let on_demand = post("expect", "100-continue");
        assert!(closes(on_demand) && !on_demand.should_be_read());
        assert!(!closes(post("content-length", "0")));
        assert!(!closes(small.without_connection()));
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
    fn a_server_takes_off_every_marker_and_a_client_those_made_in_this_process() {
        for (side, left) in [(Side::Server, false), (Side::Client, true)] {
            let theirs = Response::builder().status(503).header(SHED_REASON, "limit").body(());
            let mut theirs = theirs.expect("a response");
            disown(&mut theirs, side);
            assert_eq!(theirs.headers().contains_key(SHED_REASON), left, "{side:?}");

            for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
                let mut ours = answer(&Rejection::new(status), Request::new(()));
                disown(&mut ours, side);
                assert_eq!(ours.status(), 503, "{side:?}");
                assert!(!ours.headers().contains_key(SHED_REASON), "{side:?}");
                assert!(ours.extensions().get::<Shed>().is_none(), "{side:?}");
                let refused = Refused::of(ours.extensions());
                assert_eq!(refused, Some(Refused(Reason::Limit)), "{side:?}");
                assert!(ours.headers().contains_key("retry-after"), "{side:?}");
            }
        }
    }

    #[test]
    fn what_else_a_refusal_says_is_true_whether_or_not_a_handler_ran() {
        let call = Request::builder().header("content-type", "application/grpc").body(());
        for request in [Request::new(()), call.expect("a request")] {
            let mut refusal = answer(&Rejection::new(StatusCode::SERVICE_UNAVAILABLE), request);
            disown(&mut refusal, Side::Server);
            let said = format!("{:?} {:?}", refusal.headers(), refusal.body());
            assert!(!said.contains("begun"), "{said}");
        }
    }

    #[test]
    #[should_panic(expected = "must be 503 or 429")]
    fn no_other_status_refuses() {
        let _ = Rejection::new(StatusCode::OK);
    }
}
