//! What an answer means to a client: the one place that decides it.

use crate::event_log::EventKind;
use http::{HeaderMap, StatusCode};

/// What an answer is to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    /// The request was served.
    Good,
    /// The service has no room now: 503, 429, or 529.
    Refused,
    /// Another status, also one of gRPC, which sending the request again later would not change.
    Useless,
}

/// "Site is overloaded", of some APIs.
const SITE_IS_OVERLOADED: u16 = 529;

/// Where gRPC says how a call ended.
pub(crate) const GRPC_STATUS: &str = "grpc-status";
const GRPC_RESOURCE_EXHAUSTED: &[u8] = b"8";
const GRPC_UNAVAILABLE: &[u8] = b"14";

impl AnswerKind {
    /// By the status and the header fields, trailers among them.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Self::Refused,
            status if status.as_u16() == SITE_IS_OVERLOADED => Self::Refused,
            status if status.is_success() => Self::of_grpc(headers),
            _ => Self::Useless,
        }
    }

    /// gRPC answers with 200, and says in a field how the call ended.
    fn of_grpc(headers: &HeaderMap) -> Self {
        match headers.get(GRPC_STATUS).map(|status| status.as_bytes()) {
            None | Some(b"0") => Self::Good,
            Some(GRPC_RESOURCE_EXHAUSTED | GRPC_UNAVAILABLE) => Self::Refused,
            Some(_) => Self::Useless,
        }
    }

    /// The event to log. A good answer is logged by its request, which knows when it was due.
    pub(crate) const fn event(self) -> Option<EventKind> {
        match self {
            Self::Good => None,
            Self::Refused => Some(EventKind::Refused),
            Self::Useless => Some(EventKind::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_good_a_refusal_or_useless() {
        for (status, kind) in [
            (200, AnswerKind::Good),
            (204, AnswerKind::Good),
            (304, AnswerKind::Useless),
            (404, AnswerKind::Useless),
            (429, AnswerKind::Refused),
            (500, AnswerKind::Useless),
            (503, AnswerKind::Refused),
            (529, AnswerKind::Refused),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(AnswerKind::of(status, &HeaderMap::new()), kind, "{status}");
        }
    }

    #[test]
    fn a_call_of_grpc_is_what_its_own_status_says() {
        for (status, kind) in [
            ("0", AnswerKind::Good),
            ("5", AnswerKind::Useless),
            ("8", AnswerKind::Refused),
            ("14", AnswerKind::Refused),
        ] {
            let fields = [(http::HeaderName::from_static(GRPC_STATUS), status.parse())];
            let headers = fields.into_iter().map(|(name, value)| (name, value.expect("a value")));
            assert_eq!(AnswerKind::of(StatusCode::OK, &headers.collect()), kind, "{status}");
        }
    }
}
