//! Why a request that failed was not sent again.

use std::fmt;
use std::time::Duration;

use http::Extensions;

use crate::headers::retry_after::RetryAfter;

/// Why a failure was returned instead of retried, and what is known of when to try again.
///
/// A [`RetryLayer`](crate::RetryLayer) puts it into the extensions of such a response. For an error it is at
/// the future: [`ResponseFuture::gave_up`](crate::client::ResponseFuture::gave_up).
///
/// ```
/// use tower_backpressure::client::{GaveUp, GiveUpReason};
///
/// fn explain<B>(response: &http::Response<B>) -> String {
///     match GaveUp::of(response.extensions()) {
///         Some(GaveUp { reason: GiveUpReason::RetryAfter, retry_after: Some(asked), .. }) => {
///             format!("come back in {} s", asked.delay().as_secs())
///         }
///         Some(gave_up) => format!("{} after {} attempts", gave_up.reason, gave_up.attempts),
///         None => "no failure that a retry could repair".into(),
///     }
/// }
/// # explain(&http::Response::new(()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GaveUp {
    /// Which bound ended the retries.
    pub reason: GiveUpReason,
    /// Attempts that were made, the first included.
    pub attempts: u32,
    /// Time that was waited between them.
    pub waited: Duration,
    /// The last delay that the server asked for, in the response of any attempt.
    pub retry_after: Option<RetryAfter>,
}

/// Which bound ended the retries of a request; the label `outcome` of `backpressure_retries_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GiveUpReason {
    /// The last attempt has been made.
    Attempts,
    /// The budget is spent.
    Budget,
    /// The next attempt would be sent after the deadline, or the deadline has cut an attempt.
    Deadline,
    /// The server asks for more than `max_retry_after`.
    RetryAfter,
    /// The server asks for no retry at all.
    Forbidden,
    /// The request is not idempotent, and may have been carried out.
    NotIdempotent,
    /// The body cannot be sent again.
    NotReplayable,
}

impl GaveUp {
    /// Reads it from the extensions of a response.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }
}

impl GiveUpReason {
    /// The name in metrics and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::RetryAfter => "retry_after",
            Self::Forbidden => "forbidden",
            Self::NotIdempotent => "not_idempotent",
            Self::NotReplayable => "not_replayable",
        }
    }
}

impl fmt::Display for GiveUpReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
