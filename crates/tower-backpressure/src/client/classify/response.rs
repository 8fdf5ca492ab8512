//! Which responses are retried.

use backpressure_core::Shed;
use http::Extensions;
use http::header::{HeaderMap, HeaderName};
use http::status::StatusCode;

use super::{AttemptOutcome, RetryDecision, grpc};
use crate::client::not_begun::says_not_begun;
use crate::headers::retry_after::says_should_retry;
use crate::headers::shed_reason::SHED_REASON_FIELD;

/// Not registered; used by several large APIs under overload.
const SITE_IS_OVERLOADED: u16 = 529;

/// Whether the server rejected the request because of load or a quota.
pub(crate) fn is_rejection(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => true,
        StatusCode::OK => grpc::is_rejection(headers),
        _ => status.as_u16() == SITE_IS_OVERLOADED,
    }
}

/// Whether a proxy answers so while no server behind it is up. A server that is up may answer so as well.
pub(crate) const fn is_of_proxy_without_server(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE)
}

pub(super) fn decide(
    outcome: &AttemptOutcome<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> RetryDecision {
    if status.is_success() {
        return grpc::decide(outcome, headers);
    }
    if local_rejection(headers, extensions).is_some() {
        return RetryDecision::not_begun();
    }
    if says_not_begun(status, headers) {
        return outcome.not_begun_if_trusted();
    }
    // draft-ietf-httpapi-idempotency-key-header: an earlier attempt with this key may still be running.
    let is_still_running =
        status == StatusCode::CONFLICT && outcome.has_idempotency_key && outcome.attempt > 1;
    let is_asked_for = !status.is_redirection() && says_should_retry(headers);
    match is_transient(status) || is_still_running || is_asked_for {
        true => RetryDecision::if_idempotent(),
        false => RetryDecision::give_up(),
    }
}

/// The rejection by a layer of this client, in this process: the request was not sent.
pub(super) fn local_rejection<'a>(
    headers: &HeaderMap,
    extensions: &'a Extensions,
) -> Option<&'a Shed> {
    let marker: &HeaderName = &SHED_REASON_FIELD;
    extensions.get().filter(|_| headers.contains_key(marker))
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
