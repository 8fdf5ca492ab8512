//! Whether there is a next attempt, and when.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::wait::{Backoff, Wait};
use crate::admission::return_ticket::RETURN_TICKET;
use crate::client::budget::{RetryBudget, Withdrawal};
use crate::client::classify::is_retryable;
use crate::client::jitter::Jitter;
use crate::client::replay::ResponseHead;
use crate::client::telemetry::{GiveUp, RetryTelemetry, Source};

/// Everything the services of one layer share. Cloned only while options are chosen.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) max_attempts: u32,
    pub(super) trusts_not_begun: bool,
    pub(super) deadline: Duration,
    pub(super) max_retry_after: Duration,
    pub(super) backoff: Backoff,
    pub(super) budget: RetryBudget,
    pub(super) jitter: Jitter,
    pub(super) telemetry: RetryTelemetry,
}

/// How far a request has come.
#[derive(Debug)]
pub(super) struct Progress {
    /// How often it was sent.
    pub(super) attempts: u32,
    /// Whether it may be sent twice although the first may have been carried out.
    pub(super) idempotent: bool,
    /// Whether there is a copy to send.
    pub(super) replayable: bool,
    /// When an answer is worth nothing any more; `None` is never.
    pub(super) ends: Option<Instant>,
}

/// A retry that was granted, and paid for or promised a place.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) at: Instant,
    /// `None` where a ticket stands for it.
    pub(super) withdrawal: Option<Withdrawal>,
    pub(super) ticket: Option<HeaderValue>,
}

impl Policy {
    pub(super) fn new(name: Cow<'static, str>) -> Self {
        Self {
            max_attempts: 3,
            trusts_not_begun: true,
            deadline: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(60),
            backoff: Backoff::default(),
            budget: RetryBudget::default(),
            jitter: Jitter::new(fastrand::Rng::new()),
            telemetry: RetryTelemetry::new(name),
        }
    }

    /// Judges the outcome of an attempt; `None` hands it over.
    pub(super) fn next<Res: ResponseHead, E>(
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
        match self.grant(progress, outcome.as_ref().ok()) {
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

    /// The budget comes last: nothing is charged for a retry that something else forbids.
    fn grant<Res: ResponseHead>(
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
        let wait = self.wait(progress.attempts, response)?;
        let at = Instant::now() + wait.span;
        if progress.ends.is_some_and(|ends| at >= ends) {
            return Err(GiveUp::Deadline);
        }
        let ticket = match (response, wait.source) {
            (Some(response), Source::RetryAfter) => response.headers().get(RETURN_TICKET).cloned(),
            _ => None,
        };
        // The server has planned for this retry and bounds how many there are. See `RETURN_TICKET`.
        let withdrawal = match ticket {
            Some(_) => None,
            None => Some(self.budget.withdraw().ok_or(GiveUp::Budget)?),
        };
        Ok((wait, Grant { at, withdrawal, ticket }))
    }

    fn wait<Res: ResponseHead>(
        &self,
        attempts: u32,
        response: Option<&Res>,
    ) -> Result<Wait, GiveUp> {
        let told = match response {
            Some(response) => Wait::told(response.headers(), self.max_retry_after, &self.jitter)
                .map_err(|_too_long| GiveUp::RetryAfter)?,
            None => None,
        };
        Ok(told.unwrap_or_else(|| self.backoff.after(attempts, &self.jitter)))
    }
}
