//! What a `Retry-After` holds for: the request that was rejected, or all requests.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::shed_reason::SHED_REASON_FIELD;
use crate::admission::return_ticket::RETURN_TICKET_FIELD;

/// Header of a rejection whose `Retry-After` is for this request alone; its value is `request`. Other requests
/// may be sent, and may be served.
///
/// RFC 9110 does not say what a `Retry-After` holds for. A server of this crate schedules each rejected request by
/// itself. A [`CooldownLayer`](crate::CooldownLayer) tells that by the ticket or the reason in the rejection, which
/// a service in the middle of a chain cannot pass on; it says it with this header. See
/// [`Unavailable`](crate::client::Unavailable).
pub const RETRY_AFTER_SCOPE: HeaderName = HeaderName::from_static("x-retry-after-scope");

pub(crate) static RETRY_AFTER_SCOPE_FIELD: HeaderName = RETRY_AFTER_SCOPE;

pub(crate) const THIS_REQUEST: HeaderValue = HeaderValue::from_static("request");

/// Whether the time in this response is for one request alone.
pub(crate) fn is_of_one_request(headers: &HeaderMap) -> bool {
    headers.contains_key(&SHED_REASON_FIELD)
        || headers.contains_key(&RETURN_TICKET_FIELD)
        || headers.get(&RETRY_AFTER_SCOPE_FIELD) == Some(&THIS_REQUEST)
}
