//! What the status of an answer means to a client: the one place that decides it.

use crate::event_log::EventKind;
use http::StatusCode;

/// What an answer is to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    /// The request was served.
    Good,
    /// The service has no room now: 503, 429, or 529.
    Refused,
    /// Another status, which sending the request again later would not change.
    Useless,
}

/// "Site is overloaded", of some APIs.
const SITE_IS_OVERLOADED: u16 = 529;

impl AnswerKind {
    pub(crate) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Self::Refused,
            status if status.as_u16() == SITE_IS_OVERLOADED => Self::Refused,
            status if status.is_success() => Self::Good,
            _ => Self::Useless,
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
            assert_eq!(AnswerKind::of(StatusCode::from_u16(status).expect("a status")), kind);
        }
    }
}
