//! Rejections that gRPC clients understand.

use std::time::Duration;

use backpressure_core::{Reason, Shed};
use bytes::Bytes;
use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use super::seconds::whole_seconds;
use crate::headers::grpc::Dialect;

mod status_details;

static STATUS: HeaderName = HeaderName::from_static("grpc-status");
static MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
static DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// UNAVAILABLE: the server is overloaded, and another attempt may succeed.
const UNAVAILABLE: (u8, &str) = (14, "overloaded");
/// RESOURCE_EXHAUSTED: the caller has used up what it may use.
const RESOURCE_EXHAUSTED: (u8, &str) = (8, "quota exceeded");

/// The status, and when to come back, twice: `grpc-retry-pushback-ms` is what gRPC libraries obey by
/// themselves (proposal A6), and `RetryInfo` in `grpc-status-details-bin` is what programs and OTLP exporters
/// read.
pub(super) fn rejection(shed: Shed, dialect: Dialect, is_json: bool) -> Response<Bytes> {
    let kind = match (dialect, is_json) {
        (Dialect::Http | Dialect::Grpc, false) => "application/grpc",
        (Dialect::Http | Dialect::Grpc, true) => "application/grpc+json",
        (Dialect::Web, false) => "application/grpc-web+proto",
        (Dialect::Web, true) => "application/grpc-web+json",
        (Dialect::WebText, _) => "application/grpc-web-text+proto",
    };
    let mut response = Response::new(web_body(dialect, || web_trailers(shed)).unwrap_or_default());
    // Room for all there can be: these five, the shed reason, the ticket and Connection.
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if dialect == Dialect::Grpc {
        let details = HeaderValue::from_str(&details(shed)).expect("base64 is a header value");
        let (status, message) = status(shed.reason);
        headers.insert(&STATUS, HeaderValue::from(u16::from(status)));
        headers.insert(&MESSAGE, HeaderValue::from_static(message));
        headers.insert(&PUSHBACK, HeaderValue::from(millis(shed.retry_after)));
        headers.insert(&DETAILS, details);
    } else {
        // For a layer further out, which removes the pushback.
        headers.insert(header::RETRY_AFTER, whole_seconds(shed.retry_after));
    }
    *response.headers_mut() = headers;
    response
}

/// The handler of the call may have run. Clients take a named time as permission to repeat the call, so that it
/// is left in a header that is none: `Retry-After`.
pub(super) fn remove_pushback(headers: &mut HeaderMap) {
    headers.remove(&DETAILS);
    let Some(pushback) = headers.remove(&PUSHBACK) else { return };
    let millis = pushback.to_str().ok().and_then(|millis| millis.parse().ok());
    if let (Some(millis), Entry::Vacant(place)) = (millis, headers.entry(header::RETRY_AFTER)) {
        place.insert(whole_seconds(Duration::from_millis(millis)));
    }
}

/// The body of such a response to a gRPC-Web call, which has its pushback there; `None`: to another call.
pub(super) fn body_without_pushback(headers: &mut HeaderMap) -> Option<Bytes> {
    let (status, message) = UNAVAILABLE;
    let trailers = || web_frame(&format!("grpc-status:{status}\r\ngrpc-message:{message}\r\n"));
    let body = web_body(Dialect::of(headers), trailers)?;
    // Those of the body that it replaces.
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::CONTENT_ENCODING);
    Some(body)
}

/// RESOURCE_EXHAUSTED means that the caller may not, which a handler cannot have said of its own calls.
pub(super) fn say_unavailable(headers: &mut HeaderMap) {
    if let Some(status) = headers.get_mut(&STATUS) {
        *status = HeaderValue::from(u16::from(UNAVAILABLE.0));
        headers.insert(&MESSAGE, HeaderValue::from_static(UNAVAILABLE.1));
    }
}

/// The body that has the status of a gRPC-Web call; `None`: another call has it in its head.
fn web_body(dialect: Dialect, trailers: impl FnOnce() -> Bytes) -> Option<Bytes> {
    match dialect {
        Dialect::Http | Dialect::Grpc => None,
        Dialect::Web => Some(trailers()),
        Dialect::WebText => Some(Bytes::from(status_details::base64(&trailers(), true))),
    }
}

/// Status and time as the last frame of a body.
fn web_trailers(shed: Shed) -> Bytes {
    let (pushback, details) = (millis(shed.retry_after), details(shed));
    let (status, message) = status(shed.reason);
    web_frame(&format!(
        "grpc-status:{status}\r\ngrpc-message:{message}\r\ngrpc-retry-pushback-ms:{pushback}\r\ngrpc-status-details-bin:{details}\r\n"
    ))
}

/// The flag of trailers, their length, and the trailers.
fn web_frame(trailers: &str) -> Bytes {
    let length = u32::try_from(trailers.len()).expect("four short fields");
    let mut frame = vec![0x80];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(trailers.as_bytes());
    Bytes::from(frame)
}

fn details(shed: Shed) -> String {
    let delay = Duration::from_millis(millis(shed.retry_after).into());
    let (status, message) = status(shed.reason);
    status_details::base64(&status_details::status(status, message, delay), false)
}

const fn status(reason: Reason) -> (u8, &'static str) {
    if matches!(reason, Reason::Quota) { RESOURCE_EXHAUSTED } else { UNAVAILABLE }
}

/// Rounded up, at least a second as `Retry-After` is, within the range of an `i32`.
fn millis(wait: Duration) -> u32 {
    let millis = wait.as_nanos().div_ceil(1_000_000);
    u32::try_from(millis).unwrap_or(u32::MAX).clamp(1_000, i32::MAX.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_rejection_is_one_frame_of_trailers() {
        let shed = Shed::new(Reason::Limit, Duration::from_millis(2_500));
        let response = rejection(shed, Dialect::Web, false);
        assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
        assert!(!response.headers().contains_key("grpc-status"));
        let (head, trailers) = response.body().split_at(5);
        assert_eq!(head[0], 0x80);
        assert_eq!(
            u32::from_be_bytes(head[1..].try_into().expect("four")) as usize,
            trailers.len()
        );
        let trailers = std::str::from_utf8(trailers).expect("text");
        assert!(trailers.starts_with("grpc-status:14\r\n"), "{trailers}");
        assert!(trailers.contains("grpc-retry-pushback-ms:2500\r\n"), "{trailers}");
        let text = rejection(shed, Dialect::WebText, false);
        assert_eq!(text.headers()["content-type"], "application/grpc-web-text+proto");
        assert_eq!(text.body().len() % 4, 0, "padded");
        assert!(text.body().starts_with(b"gAAA"), "{:?}", text.body());
    }

    #[test]
    fn the_type_of_a_rejection_is_that_of_the_call() {
        for (dialect, kind) in
            [(Dialect::Grpc, "application/grpc+json"), (Dialect::Web, "application/grpc-web+json")]
        {
            let shed = Shed::new(Reason::Limit, Duration::from_secs(1));
            assert_eq!(rejection(shed, dialect, true).headers()["content-type"], kind);
        }
    }

    #[test]
    fn pushback_never_overflows_into_do_not_retry() {
        assert_eq!(millis(Duration::MAX), i32::MAX.unsigned_abs());
        assert_eq!(millis(Duration::from_micros(2_000_001)), 2_001);
    }

    #[test]
    fn pushback_is_never_shorter_than_the_least_retry_after() {
        assert_eq!(millis(Duration::from_micros(1)), 1_000);
    }
}
