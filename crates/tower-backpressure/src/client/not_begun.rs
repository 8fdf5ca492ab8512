//! Reads from a response whether its request was begun.

use http::header::HeaderMap;
use http::status::StatusCode;

use crate::headers::shed_reason::SHED_REASON;

/// Whether the response says that no part of the request was carried out, so that a request with any
/// method can be sent again.
///
/// RFC 6585, section 4 (429), RFC 9110, section 15.5.20 (421), and RFC 8470, section 5.2 (425), describe
/// requests that were rejected. A 503 may also come from a handler that did a part of its work; only
/// the header tells the difference.
pub(crate) fn says_not_begun(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::MISDIRECTED_REQUEST | StatusCode::TOO_EARLY => {
            true
        }
        StatusCode::SERVICE_UNAVAILABLE => headers.contains_key(SHED_REASON),
        _ => false,
    }
}
