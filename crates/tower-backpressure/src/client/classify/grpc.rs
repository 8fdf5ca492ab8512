//! Which gRPC calls are retried.
//!
//! The status of a failed call is in the head of the response where there is no message: "trailers only".
//! Once a server has sent a head without it, the call is committed (gRPC proposal A6).

use http::header::{HeaderMap, HeaderName};

use super::{AttemptOutcome, RetryDecision};
use crate::headers::grpc::Dialect;
use crate::headers::retry_after::says_when_to_retry_grpc;
use crate::headers::shed_reason::SHED_REASON_FIELD;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
const UNAVAILABLE: u32 = 14;

pub(crate) fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get(&GRPC_STATUS).and_then(|value| value.to_str().ok()?.parse().ok())
}

pub(super) fn is_rejection(headers: &HeaderMap) -> bool {
    matches!(status(headers), Some(RESOURCE_EXHAUSTED | UNAVAILABLE))
}

/// Only the mark of a server of this crate says that the call was not begun. A time for the next attempt, pushback or
/// `RetryInfo`, does not: it stays in a status that a handler passes on after it has done work, as `?` does in tonic.
/// Without a time `UNAVAILABLE` may come from a connection that broke half-way, and `RESOURCE_EXHAUSTED` from a
/// message that is too large.
pub(super) fn decide(outcome: &AttemptOutcome<'_>, headers: &HeaderMap) -> RetryDecision {
    let Some(status @ (RESOURCE_EXHAUSTED | UNAVAILABLE)) = status(headers) else {
        return RetryDecision::give_up();
    };
    match status {
        _ if headers.contains_key(&SHED_REASON_FIELD) => outcome.not_begun_if_trusted(),
        UNAVAILABLE => RetryDecision::if_idempotent(),
        _ if says_when_to_retry_grpc(headers) => RetryDecision::if_idempotent(),
        _ => RetryDecision::give_up(),
    }
}

/// Whether this is a gRPC call. gRPC-Web, which carries its status in the body, is not.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    Dialect::of(headers) == Dialect::Grpc
}
