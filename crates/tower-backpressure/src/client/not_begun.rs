//! How a response proves that the request it answers was never begun.

use http::header::HeaderMap;
use http::status::StatusCode;

use crate::headers::shed_reason::SHED_REASON;

/// Whether the request can be sent again whatever its method, since no part of it was carried out.
///
/// RFC 6585 §4 (429), RFC 9110 §15.5.20 (421) and RFC 8470 §5.2 (425) describe requests that were
/// turned away; of a 503 only its sender can say so.
pub(crate) fn not_begun(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::MISDIRECTED_REQUEST | StatusCode::TOO_EARLY => {
            true
        }
        StatusCode::SERVICE_UNAVAILABLE => headers.contains_key(SHED_REASON),
        _ => false,
    }
}
