//! Decides which outcomes of attempts are retried.

use std::error::Error;
use std::time::Duration;

use backpressure_core::Shed;
use http::Extensions;
use http::header::{HeaderMap, HeaderName};
use http::status::StatusCode;
use tokio::time::Instant;

use crate::client::cooldown_marks::{ResumesAt, ToldAgain};

mod error;
pub(crate) mod grpc;
mod response;

pub(crate) use self::error::ErrorTypes;
pub(crate) use self::grpc::is_call as is_grpc_call;
pub(crate) use self::response::{is_of_proxy_without_server, is_rejection};

/// A server recognises a request that it has seen by this key: draft-ietf-httpapi-idempotency-key-header.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How an attempt ended, as a rule of [`RetryLayer::policy`](crate::RetryLayer::policy) sees it.
#[derive(Clone, Copy, Debug)]
pub struct AttemptOutcome<'a> {
    pub(crate) attempt: u32,
    pub(crate) idempotent: bool,
    pub(crate) has_idempotency_key: bool,
    pub(crate) trusts_not_begun: bool,
    /// The URL that the request was sent to, where the client inside may have followed a redirection.
    pub(crate) sent_to: Option<&'a str>,
    pub(crate) end: AttemptEnd<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum AttemptEnd<'a> {
    Response {
        status: StatusCode,
        headers: &'a HeaderMap,
        extensions: &'a Extensions,
        url: Option<&'a str>,
    },
    /// `None`: the type of the error is not known.
    Error(Option<&'a (dyn Error + 'static)>),
}

impl<'a> AttemptOutcome<'a> {
    /// The number of the attempt; the first one is 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether the request is idempotent, by its method or by an `Idempotency-Key`.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The status of the response; `None` where there was an error.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self.end {
            AttemptEnd::Response { status, .. } => Some(status),
            AttemptEnd::Error(_) => None,
        }
    }

    /// The header fields of the response; `None` where there was an error.
    #[must_use]
    pub const fn headers(&self) -> Option<&'a HeaderMap> {
        match self.end {
            AttemptEnd::Response { headers, .. } => Some(headers),
            AttemptEnd::Error(_) => None,
        }
    }

    /// The extensions of the response; `None` where there was an error.
    #[must_use]
    pub const fn extensions(&self) -> Option<&'a Extensions> {
        match self.end {
            AttemptEnd::Response { extensions, .. } => Some(extensions),
            AttemptEnd::Error(_) => None,
        }
    }

    /// The gRPC status in the head of the response, where the call failed without a message.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u32> {
        self.headers().and_then(grpc::status)
    }

    /// The error; `None` for a response, and for an error of a type that the layer does not know: see
    /// [`RetryLayer::error_type`](crate::RetryLayer::error_type).
    #[must_use]
    pub const fn error(&self) -> Option<&'a (dyn Error + 'static)> {
        match self.end {
            AttemptEnd::Response { .. } => None,
            AttemptEnd::Error(error) => error,
        }
    }

    /// Whether the request was certainly not sent: the connection could not be made.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        self.error().is_some_and(error::is_unsent)
    }

    /// Whether nothing listens at the origin.
    pub(crate) fn is_refused(&self) -> bool {
        self.error().is_some_and(error::is_refused)
    }

    /// Whether no server was there to answer: a proxy in front of it says so, or the connection failed.
    pub(crate) fn is_unanswered(&self) -> bool {
        match self.end {
            AttemptEnd::Response { status, .. } => is_of_proxy_without_server(status),
            AttemptEnd::Error(error) => error.is_none_or(error::is_lost_connection),
        }
    }

    /// Whether the response is that of another request: the client inside has followed a redirection. The server
    /// that redirected has carried out its part, whatever became of the rest. It is seen over reqwest, whose errors do
    /// not tell.
    #[must_use]
    pub fn is_redirected(&self) -> bool {
        let AttemptEnd::Response { url: Some(url), .. } = self.end else { return false };
        self.sent_to.is_some_and(|sent_to| sent_to != url)
    }

    /// Whether the request was carried out as it was meant.
    pub(crate) fn is_success(&self) -> bool {
        let grpc = self.grpc_status();
        self.status().is_some_and(|status| status.is_success()) && matches!(grpc, None | Some(0))
    }

    /// The rejection by a layer of this client, in this process: the request was not sent.
    pub(crate) fn rejected_here(&self) -> Option<&'a Shed> {
        response::local_rejection(self.headers()?, self.extensions()?)
    }

    /// Whether this client has asked the origin again when it had said, and was told to come back once more.
    pub(crate) fn is_told_again(&self) -> bool {
        self.extensions().is_some_and(|extensions| extensions.get::<ToldAgain>().is_some())
    }

    /// How long a cool-down inside sends nothing to the origin.
    pub(crate) fn resumes_in(&self) -> Option<Duration> {
        let &ResumesAt(at) = self.extensions()?.get()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Whether the error says that the attempt took too long.
    pub(crate) fn is_timeout(&self) -> bool {
        self.error().is_some_and(error::is_timeout)
    }

    /// Whether the server rejected the request because of load or a quota.
    pub(crate) fn is_rejection(&self) -> bool {
        match self.end {
            AttemptEnd::Response { status, headers, .. } => is_rejection(status, headers),
            AttemptEnd::Error(_) => self.is_rejected_by_error(),
        }
    }

    /// Whether it did so in the transport, so that there is no response.
    pub(crate) fn is_rejected_by_error(&self) -> bool {
        self.error().is_some_and(error::is_rejection)
    }

    /// What the layer does without a rule: see [`RetryLayer`](crate::RetryLayer). A rule may return it.
    #[must_use]
    pub fn default_decision(&self) -> RetryDecision {
        let decision = self.decision_without_redirection();
        match decision.retry {
            Retryable::Always if self.is_redirected() => RetryDecision::if_idempotent(),
            _ => decision,
        }
    }

    fn decision_without_redirection(&self) -> RetryDecision {
        match self.end {
            AttemptEnd::Response { status, headers, extensions, .. } => {
                response::decide(self, status, headers, extensions)
            }
            // First: the sources of an upload's own error may tell of another connection that was refused.
            AttemptEnd::Error(Some(error)) if error::is_permanent(error) => {
                RetryDecision::give_up()
            }
            AttemptEnd::Error(Some(error)) if error::is_unsent(error) => RetryDecision::not_begun(),
            AttemptEnd::Error(Some(error)) if error::is_not_processed(error) => {
                self.not_begun_if_trusted()
            }
            AttemptEnd::Error(_) => RetryDecision::if_idempotent(),
        }
    }

    /// The peer says that it did not begin the request.
    const fn not_begun_if_trusted(&self) -> RetryDecision {
        match self.trusts_not_begun {
            true => RetryDecision::not_begun(),
            false => RetryDecision::if_idempotent(),
        }
    }
}

/// What follows from an outcome. A retry also needs budget, time, and a request that can be sent again.
///
/// ```
/// use std::time::Duration;
/// use tower_backpressure::{RetryDecision, RetryLayer};
///
/// // GitHub rejects with a 403 that names a time; this search also fails with a 500 now and then.
/// let layer = RetryLayer::named("github").policy(|outcome| {
///     let names_a_time = outcome.headers()?.contains_key("retry-after");
///     match outcome.status()?.as_u16() {
///         403 if names_a_time => Some(RetryDecision::not_begun()),
///         500 => Some(RetryDecision::if_idempotent().after(Duration::from_millis(200))),
///         404 => Some(RetryDecision::give_up()),
///         _ => None, // the layer's own rules
///     }
/// });
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryDecision {
    pub(crate) retry: Retryable,
    pub(crate) after: Option<Duration>,
}

/// Which requests are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Retryable {
    No,
    IfIdempotent,
    Always,
}

impl RetryDecision {
    /// The outcome is returned: a success, or a failure that a repetition does not repair.
    #[must_use]
    pub const fn give_up() -> Self {
        Self { retry: Retryable::No, after: None }
    }

    /// The request may have been carried out. It is sent again if it is idempotent.
    #[must_use]
    pub const fn if_idempotent() -> Self {
        Self { retry: Retryable::IfIdempotent, after: None }
    }

    /// The request was certainly not begun. It is sent again whatever its method.
    #[must_use]
    pub const fn not_begun() -> Self {
        Self { retry: Retryable::Always, after: None }
    }

    /// Waits for this long, and a random span more, whatever the response says.
    #[must_use]
    pub const fn after(self, wait: Duration) -> Self {
        Self { after: Some(wait), ..self }
    }
}

#[cfg(test)]
mod tests;
