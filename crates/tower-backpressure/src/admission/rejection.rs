//! The response to a rejected request, and the removal of "not begun" marks from other responses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Reason, Shed};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};

use super::classify::Side;
use super::return_ticket::{RETURN_TICKET, RETURN_TICKET_FIELD};
use crate::headers::content_length::content_length;
use crate::headers::grpc::Dialect;
use crate::headers::shed_reason::{Rejected, SHED_REASON, SHED_REASON_FIELD, index_of, own_value};

mod grpc;
mod seconds;

pub(crate) use self::seconds::whole_seconds;

/// Up to this size, reading the rest of a body costs less than a new connection. A client that sends
/// more is told to close its connection.
const MAX_SMALL_UPLOAD: u64 = 64 * 1024;

/// Builds rejections. Everything but Retry-After and ticket is built beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    status: StatusCode,
    reveals: bool,
    side: Side,
    /// In the order of [`Reason::ALL`].
    templates: Arc<[Template]>,
    render: Option<Render>,
}

/// The response to a request that was rejected for one reason. Copying its headers takes two allocations, and less
/// than half of the time of inserting them one by one.
#[derive(Debug)]
struct Template {
    /// With values in place of Retry-After and ticket.
    headers: HeaderMap,
    body: Bytes,
}

/// A user's rule for the response to a rejected request.
#[derive(Clone)]
struct Render(Arc<RenderFn>);

type RenderFn = dyn Fn(&Parts, Response<Bytes>) -> Response<Bytes> + Send + Sync;

/// The response to a rejected request that a user's rule has made; in a box, since it is large and rare.
pub(crate) type Rendered = Box<Response<Bytes>>;

/// What matters of a request for its rejection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    dialect: Dialect,
    /// Whether the messages of a gRPC call are JSON.
    speaks_json: bool,
    /// Whether it has a connection that the response can close.
    speaks_http1: bool,
    upload: Upload,
}

/// What an HTTP/1 client still sends, which decides about its connection (RFC 9112, section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    /// Nothing, or a body over HTTP/2, which blocks no other stream.
    Nothing,
    /// At most [`MAX_SMALL_UPLOAD`].
    Small,
    /// More, or of unknown length.
    Large,
    /// A body that the client sends only when asked for it: RFC 9110, section 10.1.1.
    OnDemand,
}

impl Rejection {
    /// # Panics
    /// When `status` is neither 503 nor 429.
    pub(crate) fn new(status: StatusCode) -> Self {
        let rejection = Self {
            status,
            reveals: true,
            side: Side::Server,
            templates: Arc::default(),
            render: None,
        };
        rejection.with_templates()
    }

    /// # Panics
    /// When `status` is neither 503 nor 429.
    pub(crate) fn with_status(&self, status: StatusCode) -> Self {
        Self { status, ..self.clone() }.with_templates()
    }

    pub(crate) fn with_reason(&self, reveals: bool) -> Self {
        Self { reveals, ..self.clone() }.with_templates()
    }

    /// The same for callers in this process: its responses have the [`Shed`] in their extensions, which takes
    /// three allocations, and no ticket.
    #[cfg(feature = "client")]
    pub(crate) fn at_client(self) -> Self {
        Self { side: Side::Client, ..self }.with_templates()
    }

    pub(crate) fn with_render(
        &self,
        render: impl Fn(&Parts, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Self { render: Some(Render(Arc::new(render))), ..self.clone() }
    }

    /// Whether a user's rule makes the responses.
    pub(super) const fn is_rendered(&self) -> bool {
        self.render.is_some()
    }

    /// What the user's rule makes of the rejection of this request, if there is one.
    pub(crate) fn render(&self, shed: Shed, caller: Caller, head: &Parts) -> Option<Rendered> {
        let Render(render) = self.render.as_ref().filter(|_| caller.dialect == Dialect::Http)?;
        let mut response = self.respond_http(shed);
        response.extensions_mut().insert(shed);
        Some(Box::new(render(head, response)))
    }

    /// `ticket` gives the caller precedence over new requests when it comes back.
    pub(crate) fn respond(
        &self,
        shed: Shed,
        caller: Caller,
        ticket: Option<HeaderValue>,
        rendered: Option<Rendered>,
    ) -> Response<Bytes> {
        let mut response = match rendered {
            Some(mut rendered) => {
                keep_headers(rendered.headers_mut(), shed);
                self.mark(&mut rendered, shed);
                *rendered
            }
            None if caller.dialect == Dialect::Http => self.respond_http(shed),
            None => {
                let mut response = grpc::rejection(shed, caller.dialect, caller.speaks_json);
                self.mark(&mut response, shed);
                response
            }
        };
        let is_stopped = shed.reason == Reason::Stopped && caller.speaks_http1;
        if caller.upload != Upload::Nothing || is_stopped {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if self.side == Side::Client {
            response.extensions_mut().insert(shed);
        }
        // A template has a place for it, which is found faster than a new one is made.
        match (ticket, response.headers_mut().get_mut(&RETURN_TICKET_FIELD)) {
            (Some(ticket), Some(place)) => *place = ticket,
            (Some(ticket), None) => drop(response.headers_mut().insert(RETURN_TICKET, ticket)),
            (None, Some(_)) => drop(response.headers_mut().remove(&RETURN_TICKET_FIELD)),
            (None, None) => {}
        }
        response
    }

    /// The response in place of a stream whose handler has run: it does not say that the request was not begun. A
    /// gRPC call keeps its pushback: a watch can be repeated.
    pub(super) fn respond_begun(&self, shed: Shed, caller: Caller) -> Response<Bytes> {
        let mut response = self.respond(shed, caller.without_connection(), None, None);
        remove_own_marks(&mut response, Rejected(shed.reason));
        response.headers_mut().remove(SHED_REASON);
        response
    }

    /// Says that the request was not begun.
    fn mark(&self, response: &mut Response<Bytes>, shed: Shed) {
        response.headers_mut().insert(SHED_REASON, own_value(shed.reason, self.reveals));
    }

    /// Says when to come back, and that the request was not begun.
    fn respond_http(&self, shed: Shed) -> Response<Bytes> {
        let template = &self.templates[index_of(shed.reason)];
        let mut response = Response::new(template.body.clone());
        *response.status_mut() = self.status;
        *response.headers_mut() = template.headers.clone();
        if let Some(value) = response.headers_mut().get_mut(header::RETRY_AFTER) {
            *value = whole_seconds(shed.retry_after);
        }
        response
    }

    fn with_templates(self) -> Self {
        let allowed = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        assert!(allowed.contains(&self.status), "the status of a rejection must be 503 or 429");
        let templates = Reason::ALL.iter().map(|&reason| self.template(reason)).collect();
        Self { templates, ..self }
    }

    fn template(&self, reason: Reason) -> Template {
        // A copy has no room for more than these.
        let mut headers = HeaderMap::with_capacity(5);
        if self.side == Side::Server {
            headers.insert(RETURN_TICKET, HeaderValue::from_static(""));
        }
        keep_headers(&mut headers, Shed::new(reason, Duration::ZERO));
        let problem_type = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem_type);
        headers.insert(SHED_REASON, own_value(reason, self.reveals));
        Template { headers, body: problem(self.status, reason, self.reveals) }
    }
}

impl Caller {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let speaks_http1 = request.version() <= Version::HTTP_11;
        let dialect = Dialect::of(request.headers());
        let speaks_json = dialect != Dialect::Http && Dialect::is_json(request.headers());
        Self { dialect, speaks_json, speaks_http1, upload: upload(request) }
    }

    /// Whether the body of the request should be read. Reading a body that is sent on demand would ask
    /// the client for it.
    pub(crate) fn should_be_drained(self) -> bool {
        self.upload != Upload::OnDemand
    }

    /// The same caller while its body is being read: a small one does not cost the connection.
    pub(crate) fn being_drained(self) -> Self {
        let upload = if self.upload == Upload::Small { Upload::Nothing } else { self.upload };
        Self { upload, ..self }
    }

    /// The same caller in this process: there is no connection to close.
    pub(crate) const fn without_connection(self) -> Self {
        Self { upload: Upload::Nothing, speaks_http1: false, ..self }
    }

    /// Whether it reads Retry-After in whole seconds; gRPC counts in milliseconds.
    pub(super) fn reads_seconds(self) -> bool {
        self.dialect == Dialect::Http
    }
}

/// What a rejection says of when to come back, whatever else it says. RFC 6585, section 4: not to be cached.
fn keep_headers(headers: &mut HeaderMap, shed: Shed) {
    headers.insert(header::RETRY_AFTER, whole_seconds(shed.retry_after));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Removes every mark that says "not begun" from the response to an admitted request: a handler may
/// have run, and may have done part of its work before it passed this response on.
///
/// A rejection that an inner layer returned cannot be told from one that a handler forwards, since a
/// handler can forward the very request it was given. So all marks are removed: the header, the
/// [`Shed`], and what says the same without a header: the status 429 that such a layer chose, here or in another
/// process, and the pushback of a gRPC call. [`Rejected`] replaces them, so that outer layers still learn that no
/// work was done. Returns whether there were any.
pub(super) fn remove_not_begun_marks<B>(response: &mut Response<B>, side: Side) -> bool {
    if !response.headers().contains_key(&SHED_REASON_FIELD) {
        return false;
    }
    let local = response.extensions().get::<Shed>().map(|shed| Rejected(shed.reason));
    match local.or_else(|| Rejected::in_header(response.headers())) {
        Some(rejected) => remove_own_marks(response, rejected),
        // A mark that a client received over the wire comes from the server that rejected the request.
        None if side == Side::Client => return false,
        None => {}
    }
    response.headers_mut().remove(SHED_REASON);
    grpc::remove_pushback(response.headers_mut());
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    true
}

/// The body of a response whose marks were removed, where those were in it; `None`: the body stays.
pub(super) fn body_without_marks<B>(response: &mut Response<B>) -> Option<Bytes> {
    grpc::body_without_pushback(response.headers_mut())
}

/// A layer in this process rejected the request.
fn remove_own_marks<B>(response: &mut Response<B>, rejected: Rejected) {
    grpc::say_unavailable(response.headers_mut());
    let extensions = response.extensions_mut();
    extensions.remove::<Shed>();
    extensions.insert(rejected);
}

/// RFC 9457, with the types that the RateLimit fields draft registers for this. The text stays true when
/// a handler passes the response on.
fn problem(status: StatusCode, reason: Reason, reveals: bool) -> Bytes {
    let title = status.canonical_reason().unwrap_or_default();
    let code = status.as_u16();
    let (kind, detail) = match reason {
        Reason::Quota => {
            ("quota-exceeded", "The quota is used up. There is more after Retry-After.")
        }
        _ => (
            "temporary-reduced-capacity",
            "The service is at capacity. It expects to have room after Retry-After.",
        ),
    };
    let member = if reveals { format!(r#","reason":"{reason}""#) } else { String::new() };
    Bytes::from(format!(
        r#"{{"type":"https://iana.org/assignments/http-problem-types#{kind}","title":"{title}","status":{code},"detail":"{detail}"{member}}}"#
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
        Some(..=MAX_SMALL_UPLOAD) => Upload::Small,
        Some(_) => Upload::Large,
    }
}

impl fmt::Debug for Render {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Render")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHED: Shed = Shed::new(Reason::Limit, Duration::from_millis(300));

    fn answer(rejection: &Rejection, request: Request<()>) -> Response<Bytes> {
        rejection.respond(SHED, Caller::of(&request), None, None)
    }

    #[test]
    fn a_rejection_says_when_to_come_back_and_why_and_is_not_cached() {
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
        let closes = |caller| {
            rejection.respond(SHED, caller, None, None).headers().contains_key("connection")
        };
        let small = post("content-length", "5");
        assert!(closes(small) && !closes(small.being_drained()));
        for large in [post("content-length", "10000000"), post("transfer-encoding", "chunked")] {
            assert!(closes(large) && closes(large.being_drained()) && large.should_be_drained());
        }
        let on_demand = post("expect", "100-continue");
        assert!(closes(on_demand) && !on_demand.should_be_drained());
        assert!(!closes(post("content-length", "0")));
        assert!(!closes(small.without_connection()));
    }

    #[test]
    fn a_grpc_call_is_rejected_with_a_grpc_status() {
        let call = Request::builder().header("content-type", "application/grpc+proto").body(());
        let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE);
        let response = answer(&rejection, call.expect("a request"));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-retry-pushback-ms"], "1000");
        assert!(response.body().is_empty());
    }

    #[test]
    fn a_server_removes_every_mark_and_a_client_those_of_this_process() {
        for (side, left) in [(Side::Server, false), (Side::Client, true)] {
            for status in [503, 429] {
                let theirs = Response::builder().status(status).header(SHED_REASON, "limit");
                let mut theirs = theirs.body(()).expect("a response");
                remove_not_begun_marks(&mut theirs, side);
                assert_eq!(theirs.headers().contains_key(SHED_REASON), left, "{side:?}");
                assert_eq!(theirs.status(), if left { status } else { 503 }, "{side:?}");
            }

            for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
                let mut ours =
                    answer(&Rejection { side, ..Rejection::new(status) }, Request::new(()));
                remove_not_begun_marks(&mut ours, side);
                assert_eq!(ours.status(), 503, "{side:?}");
                assert!(!ours.headers().contains_key(SHED_REASON), "{side:?}");
                let refused = Rejected::of(&ours);
                assert_eq!(refused, Some(Rejected(Reason::Limit)), "{side:?}");
                assert!(ours.headers().contains_key("retry-after"), "{side:?}");
            }
        }
    }

    #[test]
    fn without_its_mark_a_grpc_rejection_says_when_to_come_back_in_a_header_that_proves_nothing() {
        for reason in [Reason::Limit, Reason::Quota] {
            let call = Request::builder().header("content-type", "application/grpc").body(());
            let shed = Shed::new(reason, Duration::from_millis(2_500));
            let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE);
            let caller = Caller::of(&call.expect("a request"));
            let mut response = rejection.respond(shed, caller, None, None);
            remove_not_begun_marks(&mut response, Side::Server);
            let headers = response.headers();
            assert_eq!(headers["grpc-status"], "14", "{reason}");
            assert_eq!(headers["retry-after"], "3", "{reason}");
            for proof in [SHED_REASON.as_str(), "grpc-retry-pushback-ms", "grpc-status-details-bin"]
            {
                assert!(!headers.contains_key(proof), "{reason}: {proof}");
            }
        }
    }

    #[test]
    fn the_rest_of_a_rejection_is_true_whether_or_not_a_handler_ran() {
        let call = Request::builder().header("content-type", "application/grpc").body(());
        for request in [Request::new(()), call.expect("a request")] {
            let mut refusal = answer(&Rejection::new(StatusCode::SERVICE_UNAVAILABLE), request);
            remove_not_begun_marks(&mut refusal, Side::Server);
            let said = format!("{:?} {:?}", refusal.headers(), refusal.body());
            assert!(!said.contains("begun"), "{said}");
        }
    }

    #[test]
    #[should_panic(expected = "must be 503 or 429")]
    fn no_other_status_is_accepted() {
        let _ = Rejection::new(StatusCode::OK);
    }
}
