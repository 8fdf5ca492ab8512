//! Decides whether a request is sent again, and when.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::wait::{Asked, Backoff, Wait};
use crate::admission::return_ticket::RETURN_TICKET;
use crate::client::budget::{RetryBudget, Withdrawal};
use crate::client::classify::{is_rejection, is_retryable};
use crate::client::jitter::Jitter;
use crate::client::replay::ResponseHead;
use crate::client::telemetry::{GiveUp, RetryTelemetry, Source};

/// What the services of one layer share. It is cloned only while options are set.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) max_attempts: u32,
    pub(super) trusts_not_begun: bool,
    pub(super) deadline: Duration,
    pub(super) max_retry_after: Duration,
    pub(super) strict_retry_after: bool,
    pub(super) backoff: Backoff,
    pub(super) budget: RetryBudget,
    pub(super) jitter: Jitter,
    pub(super) telemetry: RetryTelemetry,
}

/// The state of one request between its attempts.
#[derive(Debug)]
pub(super) struct Progress {
    /// Attempts made so far.
    pub(super) attempts: u32,
    /// Whether the request may be sent again although an earlier attempt may have been carried out.
    pub(super) idempotent: bool,
    /// Whether there is a copy of the request to send.
    pub(super) replayable: bool,
    /// The instant after which no retry is sent; `None` is never.
    pub(super) deadline: Option<Instant>,
}

/// Permission for one retry, which the budget or a ticket pays for.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) at: Instant,
    /// The charge to the budget; `None` where a ticket pays.
    pub(super) withdrawal: Option<Withdrawal>,
    pub(super) ticket: Option<HeaderValue>,
}

impl Policy {
    pub(super) fn new(name: Cow<'static, str>) -> Self {
        Self {
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            trusts_not_begun: true,
            deadline: DEFAULT_DEADLINE,
            max_retry_after: DEFAULT_MAX_RETRY_AFTER,
            strict_retry_after: false,
            backoff: Backoff::default(),
            budget: RetryBudget::default(),
            jitter: Jitter::new(fastrand::Rng::new()),
            telemetry: RetryTelemetry::new(name),
        }
    }

    /// Grants a retry after this outcome; `None` where the outcome is returned to the caller.
    pub(super) fn grant_retry<Res: ResponseHead, E>(
        &self,
        progress: &Progress,
        outcome: &Result<Res, E>,
    ) -> Option<Grant> {
        let retryable = match outcome {
            Ok(response) => {
                let (status, headers) = (response.status(), response.headers());
                is_retryable(status, headers, progress.idempotent, self.trusts_not_begun)
            }
            Err(_) => progress.idempotent,
        };
        if !retryable {
            return None;
        }
        match self.check(progress, outcome.as_ref().ok()) {
            Ok((wait, grant)) => {
                self.telemetry.retrying(progress.attempts, wait.span, wait.source);
                Some(grant)
            }
            Err(reason) => {
                self.telemetry.gave_up(progress.attempts, reason);
                None
            }
        }
    }

    /// Checks the bounds of a retryable request. The budget comes last, so that it is not charged for a
    /// retry that another bound forbids.
    fn check<Res: ResponseHead>(
        &self,
        progress: &Progress,
        response: Option<&Res>,
    ) -> Result<(Wait, Grant), GiveUp> {
        if progress.attempts >= self.max_attempts {
            return Err(GiveUp::Attempts);
        }
        if !progress.replayable {
            return Err(GiveUp::NotReplayable);
        }
        let wait = self.wait(progress, response)?;
        let at = Instant::now() + wait.span;
        if progress.deadline.is_some_and(|deadline| at >= deadline) {
            return Err(GiveUp::Deadline);
        }
        let ticket = match (response, wait.source) {
            (Some(response), Source::RetryAfter) => response.headers().get(RETURN_TICKET).cloned(),
            _ => None,
        };
        // The server bounds how many tickets it issues and has scheduled this retry: see
        // `RETURN_TICKET`.
        let withdrawal = match ticket {
            Some(_) => None,
            None => Some(self.budget.withdraw().ok_or(GiveUp::Budget)?),
        };
        Ok((wait, Grant { at, withdrawal, ticket }))
    }

    /// The wait before the next attempt: the server's word first, then a backoff.
    fn wait<Res: ResponseHead>(
        &self,
        progress: &Progress,
        response: Option<&Res>,
    ) -> Result<Wait, GiveUp> {
        let asked = response.map_or(Asked::Nothing, |response| {
            Asked::by(response.headers(), self.max_retry_after, self.strict_retry_after)
        });
        let is_rejection = response.is_some_and(|response| is_rejection(response.status()));
        let left = progress.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match asked {
            Asked::For(field) => Ok(Wait::after(field, left, &self.jitter)),
            Asked::ForTooMuch => Err(GiveUp::RetryAfter),
            Asked::Nothing if is_rejection => {
                Ok(self.backoff.after_rejection(progress.attempts, &self.jitter))
            }
            Asked::Nothing | Asked::ForNone => {
                Ok(self.backoff.after(progress.attempts, &self.jitter))
            }
        }
    }
}

/// A third attempt repairs most failures that a repetition can repair; a fourth is mostly load.
const DEFAULT_MAX_ATTEMPTS: u32 = 3;

/// About when callers and proxies in front of a client give up.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// The cap that most clients use. A caller would rather have the response than wait for longer.
const DEFAULT_MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
