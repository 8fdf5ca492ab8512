//! Which answers are worth asking again for.

use http::header::{HeaderMap, HeaderName};
use http::method::Method;
use http::status::StatusCode;

use crate::client::not_begun::not_begun;

/// draft-ietf-httpapi-idempotency-key-header: the server recognises a request it has seen.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether carrying the request out twice does no more than once (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key(IDEMPOTENCY_KEY)
}

/// Whether the same request may get a better answer, and sending it again does no harm.
///
/// `safe`: carrying it out twice does no more than once. `trusted`: a server's word that it was not
/// begun is taken for proof.
pub(crate) fn is_retryable(
    status: StatusCode,
    headers: &HeaderMap,
    safe: bool,
    trusted: bool,
) -> bool {
    (safe || trusted) && not_begun(status, headers) || safe && is_transient(status)
}

fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::shed_reason::SHED_REASON;

    fn retried(status: u16, headers: &HeaderMap, idempotent: bool) -> bool {
        is_retryable(StatusCode::from_u16(status).unwrap(), headers, idempotent, true)
    }

    #[test]
    fn what_may_have_been_begun_is_retried_only_if_idempotent() {
        let none = HeaderMap::new();
        for status in [408, 502, 503, 504] {
            assert!(retried(status, &none, true), "{status}");
            assert!(!retried(status, &none, false), "{status}");
        }
    }

    #[test]
    fn what_was_not_begun_is_retried_whatever_the_method() {
        let none = HeaderMap::new();
        for status in [421, 425, 429] {
            assert!(retried(status, &none, false), "{status}");
        }
        let marked = HeaderMap::from_iter([(SHED_REASON, "limit".parse().unwrap())]);
        assert!(retried(503, &marked, false));
        assert!(!retried(502, &marked, false));
    }

    #[test]
    fn a_client_that_does_not_trust_the_word_retries_only_what_is_idempotent() {
        let marked = HeaderMap::from_iter([(SHED_REASON, "limit".parse().unwrap())]);
        for status in [421, 425, 429, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!is_retryable(status, &marked, false, false), "{status}");
            assert!(is_retryable(status, &marked, true, false), "{status}");
        }
    }

    #[test]
    fn other_answers_are_final() {
        let marked = HeaderMap::from_iter([(SHED_REASON, "limit".parse().unwrap())]);
        for status in [200, 204, 304, 400, 403, 404, 409, 413, 422, 500, 501, 505] {
            assert!(!retried(status, &marked, true), "{status}");
        }
    }

    #[test]
    fn a_key_makes_a_post_idempotent() {
        let mut headers = HeaderMap::new();
        assert!(!is_idempotent(&Method::POST, &headers));
        assert!(!is_idempotent(&Method::PATCH, &headers));
        assert!(is_idempotent(&Method::PUT, &headers));
        headers.insert(IDEMPOTENCY_KEY, "\"8e03978e\"".parse().unwrap());
        assert!(is_idempotent(&Method::POST, &headers));
    }
}
