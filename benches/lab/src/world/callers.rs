//! Clients: how long they wait, and when they retry.

use super::World;
use super::clock::nanos;
use super::event_queue::Event;
use super::journal::{AttemptOutcome, AttemptRecord};
use super::request::RequestSpec;
use super::retries::{AttemptEnd, obeys, pause_of, returns_tickets};
use super::slab::Id;
use crate::controller::Refusal;

/// A request, from its first attempt to its last.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) number: u32,
    pub(super) spec: RequestSpec,
    attempts: u32,
    /// The attempt in progress, and when it was sent.
    pub(super) attempt: Id,
    sent: u64,
    /// Whether the next attempt is sent when a server told the client to.
    pub(super) promised: bool,
    /// Whether it brings a ticket back.
    pub(super) returning: bool,
    /// Whether an attempt has brought back a ticket, which pays for one retry.
    ticket_used: bool,
}

impl Request {
    pub(super) const fn new(number: u32, spec: RequestSpec) -> Self {
        Self {
            number,
            spec,
            attempts: 0,
            attempt: Id::NONE,
            sent: 0,
            promised: false,
            returning: false,
            ticket_used: false,
        }
    }

    pub(super) const fn attempts(&self) -> u32 {
        self.attempts
    }
}

impl World<'_> {
    /// Sends the next attempt of a request.
    pub(super) fn sends(&mut self, id: Id) {
        let Some(request) = self.requests.get_mut(id) else { return };
        let source = &mut self.sources[request.spec.stream as usize];
        let stream = &self.plan.streams[request.spec.stream as usize].stream;
        if request.attempts == 0 {
            source.fleets.count_first_attempt(request.spec.user, self.now);
        }
        request.attempts += 1;
        request.sent = self.now;
        let patience = stream.patience.map_or(u64::MAX, |patience| self.now + nanos(patience));
        let until = patience.min(request.spec.ends);
        self.enters(id, until);
    }

    /// An attempt has ended while its client was waiting for it.
    pub(super) fn attempt_ended(&mut self, id: Id, outcome: AttemptOutcome, refusal: Refusal) {
        let Some(request) = self.requests.get_mut(id) else { return };
        self.journal.ended.push(AttemptRecord {
            at: self.now,
            latency: self.now - request.sent,
            request: request.number,
            outcome,
        });
        request.attempt = Id::NONE;
        request.promised = false;
        if matches!(outcome, AttemptOutcome::Answered | AttemptOutcome::Failed) {
            self.finish_request(id);
            return;
        }
        let end = match outcome {
            AttemptOutcome::Left => AttemptEnd::TimedOut,
            _ => AttemptEnd::Rejected(refusal.retry_after),
        };
        match self.pause(id, end, refusal) {
            Some(pause) => self.events.push(self.now + pause, Event::Sends(id)),
            None => self.finish_request(id),
        }
    }

    fn finish_request(&mut self, id: Id) {
        if let Some(request) = self.requests.remove(id) {
            self.schedule_next(request.spec.stream, request.spec.key);
        }
    }

    /// Nanoseconds until the next attempt; `None`: there is none.
    fn pause(&mut self, id: Id, end: AttemptEnd, refusal: Refusal) -> Option<u64> {
        let request = self.requests.get_mut(id)?;
        let retry = self.plan.streams[request.spec.stream as usize].stream.retry;
        let pause = pause_of(&request.spec, retry, request.attempts, end, self.now)?;
        let source = &mut self.sources[request.spec.stream as usize];
        let returning = refusal.ticket && returns_tickets(retry);
        let paid = returning && !request.ticket_used;
        if !paid && !source.fleets.charge_retry(request.spec.user, self.now) {
            return None;
        }
        request.ticket_used |= paid;
        request.returning = returning;
        request.promised = refusal.retry_after.is_some() && obeys(retry);
        Some(pause)
    }
}
