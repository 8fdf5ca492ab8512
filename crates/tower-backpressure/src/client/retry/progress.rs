//! The state of one request between its attempts.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::attempts::{AttemptInProgress, Attempts};
use crate::client::budget::{RetryBudget, Spent};
use crate::client::classify::{IDEMPOTENCY_KEY, is_grpc_call};
use crate::client::connection::Connection;
use crate::client::gave_up::{GaveUp, GiveUpReason};
use crate::client::idempotency_key::new_idempotency_key;
use crate::client::replay::{RequestHead, ResponseHead};
use crate::headers::attempts;
use crate::headers::retry_after::RetryAfter;

/// What a layer does with requests, whatever their outcome.
#[derive(Clone, Debug)]
pub(super) struct RequestOptions {
    pub(super) deadline: Duration,
    /// Whether the deadline was set, and ends an attempt in flight.
    pub(super) cuts_at_deadline: bool,
    pub(super) adds_idempotency_key: bool,
    pub(super) adds_attempt_header: bool,
    /// Whether first attempts say as well that this layer will repeat them.
    pub(super) announces_retries: bool,
    pub(super) changes_connection: bool,
    pub(super) budget: RetryBudget,
}

/// The state of one request between its attempts.
#[derive(Debug)]
pub(super) struct Progress {
    /// Attempts made so far.
    pub(super) attempts: u32,
    /// The request in flight: see [`RequestHead::identity`].
    pub(super) identity: usize,
    /// Whether another retry layer repeats this request, so that this one makes one attempt.
    pub(super) stands_back: bool,
    pub(super) is_grpc: bool,
    /// Whether the request may be sent again although an earlier attempt may have been carried out.
    pub(super) idempotent: bool,
    pub(super) has_idempotency_key: bool,
    /// Whether there is a copy of the request to send.
    pub(super) replayable: bool,
    /// The instant after which no retry is sent; `None` is never.
    pub(super) deadline: Option<Instant>,
    /// The instant at which an attempt in flight ends.
    pub(super) cut_at: Option<Instant>,
    /// Whether the services inside do not know it from the request.
    pub(super) is_cut_earlier: bool,
    /// Whether any attempt was sent, or only rejected in this client.
    pub(super) was_sent: bool,
    /// The time waited between attempts.
    pub(super) waited: Duration,
    /// The last delay that the server asked for.
    pub(super) last_word: Option<RetryAfter>,
    /// The budget of the origin, where each has one.
    pub(super) budget: Option<RetryBudget>,
    /// Whether a retry has brought back a ticket.
    pub(super) has_returned: bool,
    /// The connection of the attempt in flight, where a retry may have to go over another one.
    pub(super) connection: Option<Connection>,
    /// What the last retry cost.
    pub(super) spent: Option<Spent>,
    pub(super) gave_up: Option<GiveUpReason>,
}

impl Progress {
    pub(super) fn of(options: &RequestOptions, request: &mut impl RequestHead) -> Self {
        let now = Instant::now();
        let of_layer = now.checked_add(options.deadline);
        let of_request = request.deadline(now);
        let set_on_layer = of_layer.filter(|_| options.cuts_at_deadline);
        let stands_back =
            AttemptInProgress::is_of(request.identity()) || attempts::is_marked(request.headers());
        let by_method = request.method().is_idempotent();
        let mut has_key = !by_method && request.headers().contains_key(IDEMPOTENCY_KEY);
        if options.adds_idempotency_key && !by_method && !has_key {
            request.headers_mut().insert(IDEMPOTENCY_KEY, new_idempotency_key());
            has_key = true;
        }
        let cut_at = earliest(set_on_layer, of_request);
        Self {
            attempts: 0,
            identity: 0,
            stands_back,
            is_grpc: cut_at.is_some() && is_grpc_call(request.headers()),
            idempotent: by_method || has_key,
            has_idempotency_key: has_key,
            replayable: false,
            deadline: earliest(of_layer, of_request),
            cut_at,
            is_cut_earlier: set_on_layer.is_some_and(|at| of_request.is_none_or(|own| at < own)),
            was_sent: false,
            waited: Duration::ZERO,
            last_word: None,
            budget: options.budget.of_request(request),
            has_returned: false,
            connection: None,
            spent: None,
            gave_up: None,
        }
    }

    pub(super) fn gave_up(&self) -> Option<GaveUp> {
        let Self { gave_up, attempts, waited, last_word: retry_after, .. } = *self;
        gave_up.map(|reason| GaveUp { reason, attempts, waited, retry_after })
    }

    /// The instant at which this layer ends an attempt.
    pub(super) fn cut_by_layer<Res: ResponseHead>(&self) -> Option<Instant> {
        self.cut_at.filter(|_| Res::IS_CUT_BY_LAYER && !self.stands_back)
    }

    /// Whether it is too late for a retry.
    pub(super) fn is_late(&self) -> bool {
        self.attempts > 0 && self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Tells the services inside the deadline, and which attempt this is.
    pub(super) fn prepare(&mut self, options: &RequestOptions, request: &mut impl RequestHead) {
        let is_retry = self.attempts > 1;
        if is_retry || self.is_cut_earlier {
            request.prepare(Attempts(self.attempts), self.cut_at);
        }
        if is_retry && options.adds_attempt_header || options.announces_retries && !self.stands_back
        {
            attempts::mark(request.headers_mut(), self.attempts - 1);
        }
        if options.changes_connection && !self.stands_back {
            self.connection = request.connection();
        }
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
