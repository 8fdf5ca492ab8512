//! Decides whether a request is sent again, and when.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Reason, Shed};
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use tokio::time::Instant;

use super::long_retry_after::LongRetryAfter;
use super::payment::{Payment, UnsentWaits};
use super::progress::{Progress, RequestOptions};
use super::wait::{Asked, Backoff, TimeLeft, word_of};
use crate::admission::return_ticket::RETURN_TICKET;
use crate::client::budget::RetryBudget;
use crate::client::classify::{
    AttemptEnd, AttemptOutcome, ErrorTypes, RetryDecision, Retryable, is_of_proxy_without_server,
};
use crate::client::cooldown::CooldownLayer;
use crate::client::gave_up::GiveUpReason;
use crate::client::jitter::Jitter;
use crate::client::replay::{RequestHead, ResponseHead};
use crate::client::telemetry::{RetryTelemetry, Source, Wait};

/// What the services of one layer share. It is cloned only while options are set.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) request: RequestOptions,
    pub(super) max_attempts: u32,
    pub(super) trusts_not_begun: bool,
    pub(super) max_retry_after: Duration,
    pub(super) long_retry_after: LongRetryAfter,
    pub(super) strict_retry_after: bool,
    pub(super) backoff: Backoff,
    pub(super) rule: Option<Rule>,
    pub(super) error_types: ErrorTypes,
    pub(super) jitter: Jitter,
    pub(super) unsent_waits: UnsentWaits,
    /// The layer inside that is told of errors which only this layer can look into.
    pub(super) cooldown: Option<CooldownLayer>,
    pub(super) telemetry: RetryTelemetry,
}

/// A user's rule. `None` leaves the outcome to the layer.
#[derive(Clone)]
pub(super) struct Rule(pub(super) Arc<RuleFn>);

type RuleFn = dyn Fn(&AttemptOutcome<'_>) -> Option<RetryDecision> + Send + Sync;

/// Permission for one retry.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) at: Instant,
    pub(super) wait: Wait,
    pub(super) payment: Payment,
    pub(super) ticket: Option<HeaderValue>,
}

impl Policy {
    pub(super) fn new(telemetry: RetryTelemetry) -> Self {
        let budget = RetryBudget::default().per_origin();
        telemetry.show_budget(&budget);
        let request = RequestOptions {
            deadline: DEFAULT_DEADLINE,
            cuts_at_deadline: false,
            adds_idempotency_key: false,
            adds_attempt_header: true,
            announces_retries: false,
            changes_connection: false,
            budget,
        };
        Self {
            request,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            trusts_not_begun: true,
            max_retry_after: DEFAULT_MAX_RETRY_AFTER,
            long_retry_after: LongRetryAfter::GiveUp,
            strict_retry_after: false,
            backoff: Backoff::default(),
            rule: None,
            error_types: ErrorTypes::default(),
            jitter: Jitter::new(fastrand::Rng::new()),
            unsent_waits: UnsentWaits::new(),
            cooldown: None,
            telemetry,
        }
    }

    /// Grants a retry of this request after this outcome of an attempt; `None` where the outcome is returned to the caller.
    pub(super) fn grant_retry<Res: ResponseHead, E: 'static>(
        &self,
        progress: &mut Progress,
        request: Option<&impl RequestHead>,
        outcome: &Result<Res, E>,
    ) -> Option<Grant> {
        let outcome = self.view(progress, request.and_then(RequestHead::url), outcome);
        if let (Some(cooldown), Some(request)) = (&self.cooldown, request) {
            if outcome.is_rejected_by_error() {
                let (scheme, authority) = request.origin();
                cooldown.rejected_by_error(scheme, authority);
            }
        }
        let is_refused = outcome.is_refused();
        let is_held_back = outcome.rejected_here().is_some();
        if !is_held_back && !outcome.is_unsent() {
            self.budget_of(progress).connected();
        }
        let ruled = self.rule.as_ref().and_then(|Rule(rule)| rule(&outcome));
        let decision = ruled.unwrap_or_else(|| outcome.default_decision());
        if decision.retry == Retryable::No {
            let budget = self.budget_of(progress);
            if budget.counts_results() && outcome.is_success() {
                budget.record_success(progress.spent);
            }
            return None;
        }
        if !is_held_back {
            self.budget_of(progress).record_failure();
        }
        progress.was_sent |= !is_held_back && !is_refused;
        let word = outcome.headers().and_then(|headers| word_of(headers, self.strict_retry_after));
        progress.last_word = word.or(progress.last_word);
        let asked = Asked::by(word, self.max_retry_after);
        let granted = self.check(progress, &outcome, decision, asked);
        self.telemetry.budget(self.budget_of(progress));
        match granted {
            Ok(grant) => {
                let connection = progress.connection.take();
                if let Some(connection) = connection.filter(|_| is_of_connection(&outcome, asked)) {
                    connection.retire();
                }
                self.telemetry.retrying(progress.attempts, grant.wait);
                Some(grant)
            }
            Err(reason) => {
                self.give_up(progress, reason);
                None
            }
        }
    }

    pub(super) fn give_up(&self, progress: &mut Progress, reason: GiveUpReason) {
        self.telemetry.gave_up(progress.attempts, reason);
        progress.gave_up = Some(reason);
    }

    pub(super) fn budget_of<'a>(&'a self, progress: &'a Progress) -> &'a RetryBudget {
        progress.budget.as_ref().unwrap_or(&self.request.budget)
    }

    fn view<'a, Res: ResponseHead, E: 'static>(
        &self,
        progress: &Progress,
        sent_to: Option<&'a str>,
        outcome: &'a Result<Res, E>,
    ) -> AttemptOutcome<'a> {
        let end = match outcome {
            Ok(response) => AttemptEnd::Response {
                status: response.status(),
                headers: response.headers(),
                extensions: response.extensions(),
                url: response.url(),
            },
            Err(error) => AttemptEnd::Error(self.error_types.as_error(error)),
        };
        AttemptOutcome {
            attempt: progress.attempts,
            idempotent: progress.idempotent,
            has_idempotency_key: progress.has_idempotency_key,
            trusts_not_begun: self.trusts_not_begun,
            sent_to,
            end,
        }
    }

    /// Checks the bounds of a retry. The budget comes last, so that it is not charged for a retry that
    /// another bound forbids.
    fn check(
        &self,
        progress: &Progress,
        outcome: &AttemptOutcome<'_>,
        decision: RetryDecision,
        asked: Asked,
    ) -> Result<Grant, GiveUpReason> {
        if asked == Asked::ForNoRetry && decision.after.is_none() {
            return Err(GiveUpReason::Forbidden);
        }
        if decision.retry == Retryable::IfIdempotent && !progress.idempotent {
            return Err(GiveUpReason::NotIdempotent);
        }
        if progress.attempts >= self.max_attempts {
            return Err(GiveUpReason::Attempts);
        }
        if !progress.replayable {
            return Err(GiveUpReason::NotReplayable);
        }
        let now = Instant::now();
        let left = progress.deadline.map(|at| at.saturating_duration_since(now));
        let asked = decision.after.map_or(asked, Asked::For);
        let wait = self.wait(progress, outcome, asked, TimeLeft(left))?;
        let is_late = left.is_some_and(|left| wait.span >= left);
        let at = now.checked_add(wait.span).filter(|_| !is_late).ok_or(GiveUpReason::Deadline)?;
        let ticket = match (outcome.headers(), wait.source) {
            (Some(headers), Source::RetryAfter) => headers.get(RETURN_TICKET).cloned(),
            _ => None,
        };
        let scheduled = ticket.is_some() && !progress.has_returned;
        let payment = match scheduled {
            // The server bounds how many tickets it issues: see `RETURN_TICKET`. One that rejects a ticket of its own
            // schedules nothing.
            true => Some(Payment::Ticket),
            false => self.pay(progress, outcome, wait.span),
        };
        Ok(Grant { at, wait, payment: payment.ok_or(GiveUpReason::Budget)?, ticket })
    }

    /// What pays for a retry that no server has scheduled. One that is the first to be sent is no retry to the server, and is
    /// free while it can be relied on that the server is back in time.
    fn pay(
        &self,
        progress: &Progress,
        outcome: &AttemptOutcome<'_>,
        wait: Duration,
    ) -> Option<Payment> {
        let budget = self.budget_of(progress);
        let unsent_for = match outcome.rejected_here() {
            Some(shed) => {
                (may_wait_for(shed) && !outcome.is_told_again()).then_some(shed.retry_after)
            }
            None => {
                let restarts = || budget.connection_refused() <= LONGEST_RESTART;
                (outcome.is_refused() && restarts()).then_some(wait)
            }
        };
        let unsent_for = unsent_for.filter(|_| !progress.was_sent);
        let free = unsent_for.and_then(|wait| self.unsent_waits.enter(wait, progress.waited));
        free.or_else(|| budget.withdraw_after(outcome.is_timeout()).map(Payment::Budget))
    }

    /// The wait before the next attempt: the server's word first, then a backoff.
    fn wait(
        &self,
        progress: &Progress,
        outcome: &AttemptOutcome<'_>,
        asked: Asked,
        left: TimeLeft,
    ) -> Result<Wait, GiveUpReason> {
        let (backoff, jitter, attempts) = (self.backoff, &self.jitter, progress.attempts);
        Ok(match (asked, self.long_retry_after) {
            (Asked::For(delay), _) => match outcome.resumes_in() {
                Some(span) if left.allows(delay, span) => Wait::until_resumed(span),
                _ => Wait::asked_for(delay, jitter, left),
            },
            (Asked::ForTooMuch, LongRetryAfter::GiveUp) => return Err(GiveUpReason::RetryAfter),
            (Asked::ForTooMuch, LongRetryAfter::Clamp) => {
                Wait::asked_for(self.max_retry_after, jitter, left)
            }
            (Asked::ForNone, _) if is_rejected_by_the_second(outcome) => {
                Wait::asked_for(Duration::ZERO, jitter, left)
            }
            (Asked::ForNone, _) => backoff.after(attempts, jitter),
            _ if outcome.is_rejection() => backoff.after_rejection(attempts, jitter, left),
            // Once may be an accident, which the next attempt repairs at once.
            _ if outcome.is_unsent() || attempts > 1 && outcome.is_unanswered() => {
                backoff.after_failed_connection(attempts, jitter, left)
            }
            _ => backoff.after(attempts, jitter),
        })
    }
}

/// A breaker and a throttle reject requests so that these fail at once.
const fn may_wait_for(shed: &Shed) -> bool {
    !matches!(shed.reason, Reason::Breaker | Reason::Throttle)
}

/// Whether the request was rejected until a time in whole seconds: servers round it down as well as up.
fn is_rejected_by_the_second(outcome: &AttemptOutcome<'_>) -> bool {
    let names_seconds = |headers: &HeaderMap| headers.contains_key(RETRY_AFTER);
    outcome.is_rejection() && outcome.headers().is_some_and(names_seconds)
}

/// Whether an attempt over another connection may end otherwise, as it may lead to another server.
fn is_of_connection(outcome: &AttemptOutcome<'_>, asked: Asked) -> bool {
    outcome.status().is_some_and(|status| match status {
        // RFC 9110, section 15.5.20, asks for another connection.
        StatusCode::MISDIRECTED_REQUEST | StatusCode::GATEWAY_TIMEOUT => true,
        _ => is_of_proxy_without_server(status) && asked == Asked::Nothing,
    })
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").finish_non_exhaustive()
    }
}

/// A third attempt repairs most failures that a repetition can repair; a fourth is mostly load.
const DEFAULT_MAX_ATTEMPTS: u32 = 3;

/// About when callers and proxies in front of a client give up.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// Three attempts to connect span up to 2.5 s. Where an origin is down for longer, requests fail early.
const LONGEST_RESTART: Duration = Duration::from_secs(3);

/// The cap that most clients use. A caller would rather have the response than wait for longer.
const DEFAULT_MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
