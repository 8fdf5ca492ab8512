//! Decides which responses are retried.

use http::header::{HeaderMap, HeaderName};
use http::method::Method;
use http::status::StatusCode;

use crate::client::not_begun::says_not_begun;

/// A server recognises a request that it has seen by this key: draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a request that is carried out twice has the effect of one (RFC 9110, section 9.2.2).
pub(crate) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key(IDEMPOTENCY_KEY)
}

/// Whether a repetition of the request may succeed, and does no harm if the first attempt did.
///
/// `trusts_not_begun`: a server's statement that it did not begin the request is taken as proof.
pub(crate) fn is_retryable(
    status: StatusCode,
    headers: &HeaderMap,
    idempotent: bool,
    trusts_not_begun: bool,
) -> bool {
    let not_begun = (idempotent || trusts_not_begun) && says_not_begun(status, headers);
    not_begun || idempotent && is_transient(status)
}

/// Whether the server rejected the request because of load or a quota.
pub(crate) fn is_rejection(status: StatusCode) -> bool {
    let rejections = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    rejections.contains(&status) || status.as_u16() == SITE_IS_OVERLOADED
}

fn is_transient(status: StatusCode) -> bool {
    let failed = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    failed.contains(&status) || status.as_u16() == SITE_IS_OVERLOADED
}

/// Not registered; used by several large APIs under overload.
const SITE_IS_OVERLOADED: u16 = 529;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::shed_reason::SHED_REASON;

    fn is_retried(status: u16, headers: &HeaderMap, idempotent: bool) -> bool {
        is_retryable(StatusCode::from_u16(status).unwrap(), headers, idempotent, true)
    }

    #[test]
    fn a_request_that_may_have_been_begun_is_retried_only_if_idempotent() {
        let none = HeaderMap::new();
        for status in [408, 502, 503, 504, 529] {
            assert!(is_retried(status, &none, true), "{status}");
            assert!(!is_retried(status, &none, false), "{status}");
        }
    }

    #[test]
    fn a_request_that_was_not_begun_is_retried_with_any_method() {
        let none = HeaderMap::new();
        for status in [421, 425, 429] {
            assert!(is_retried(status, &none, false), "{status}");
        }
        let marked = HeaderMap::from_iter([(SHED_REASON, "limit".parse().unwrap())]);
        assert!(is_retried(503, &marked, false));
        assert!(!is_retried(502, &marked, false));
    }

    #[test]
    fn a_client_that_does_not_trust_the_server_retries_only_idempotent_requests() {
        let marked = HeaderMap::from_iter([(SHED_REASON, "limit".parse().unwrap())]);
        for status in [421, 425, 429, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!is_retryable(status, &marked, false, false), "{status}");
            assert!(is_retryable(status, &marked, true, false), "{status}");
        }
    }

    #[test]
    fn no_other_response_is_retried() {
        let marked = HeaderMap::from_iter([(SHED_REASON, "limit".parse().unwrap())]);
        for status in [200, 204, 304, 400, 403, 404, 409, 413, 422, 500, 501, 505] {
            assert!(!is_retried(status, &marked, true), "{status}");
        }
    }

    #[test]
    fn an_idempotency_key_makes_a_post_idempotent() {
        let mut headers = HeaderMap::new();
        assert!(!is_idempotent(&Method::POST, &headers));
        assert!(!is_idempotent(&Method::PATCH, &headers));
        assert!(is_idempotent(&Method::PUT, &headers));
        headers.insert(IDEMPOTENCY_KEY, "\"8e03978e\"".parse().unwrap());
        assert!(is_idempotent(&Method::POST, &headers));
    }
}
