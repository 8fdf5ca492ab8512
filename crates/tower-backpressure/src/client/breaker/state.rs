//! The breaker of one origin, and what its calls say about it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backpressure_core::{
    BreakerDecision, BreakerSettings, BreakerState, CallEnding, Outcome, Pass, Priority, Reason,
    Timestamp,
};
use http::{HeaderMap, StatusCode};

use super::{BreakerPhase, BreakerSnapshot};
use crate::client::classify::grpc;
use crate::client::supervised::{
    Ended, How, Supervision, Transition, Verdict, told_wait, transition,
};
use crate::headers::retry_after_scope::is_of_one_request;
use crate::keyed_map::Idle;
use crate::observe::{Kind, PartReport};

/// The options of the layer that its decisions need.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub(super) settings: BreakerSettings,
    pub(super) slow: Option<Duration>,
}

/// The breaker of one origin.
#[derive(Debug)]
pub struct OriginBreaker {
    breaker: Mutex<backpressure_core::Breaker>,
    /// Whether calls are sent without a decision.
    is_closed: AtomicBool,
}

impl Supervision for OriginBreaker {
    type Options = Options;

    const REASON: Reason = Reason::Breaker;

    const KIND: Kind = Kind::Breaker;

    fn new(options: &Options) -> Self {
        let breaker = Mutex::new(backpressure_core::Breaker::new(options.settings));
        Self { breaker, is_closed: AtomicBool::new(true) }
    }

    fn decide(
        &self,
        _options: &Options,
        _priority: Priority,
        now: Timestamp,
    ) -> (Verdict, Transition) {
        let mut breaker = self.lock();
        let before = breaker.state();
        let verdict = match breaker.decide(now) {
            BreakerDecision::Reject(after) => Verdict::Reject(after),
            BreakerDecision::Send(pass) => Verdict::Send(pass),
            _ => Verdict::Send(Pass::UNTRACKED),
        };
        (verdict, self.settle(&breaker, before))
    }

    fn is_timed(options: &Options) -> bool {
        options.slow.is_some()
    }

    fn is_open(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn ended(
        &self,
        options: &Options,
        ended: &Ended<'_>,
        now: impl FnOnce() -> Timestamp,
    ) -> Transition {
        let ending = options.ending(ended);
        if ending == CallEnding::Ignored && ended.pass == Pass::UNTRACKED {
            return None;
        }
        let (now, mut breaker) = (now(), self.lock());
        let before = breaker.state();
        breaker.ended(ended.pass, ending, now);
        self.settle(&breaker, before)
    }

    fn fill(&self, part: &mut PartReport, now: Timestamp) {
        let BreakerSnapshot { phase, left, .. } = self.snapshot(now);
        part.state = Some(phase.as_str());
        part.left = left;
    }
}

impl OriginBreaker {
    /// What a call that came now would be told that is rejected; without a lock while calls are sent without a
    /// decision.
    pub(super) fn would_reject(&self, now: impl FnOnce() -> Timestamp) -> Option<Duration> {
        if self.is_open() { None } else { self.lock().would_reject(now()) }
    }

    pub(super) fn snapshot(&self, now: Timestamp) -> BreakerSnapshot {
        let (phase, left) = match self.lock().state() {
            BreakerState::Open(until) if until > now => (BreakerPhase::Open, until.since(now)),
            BreakerState::Open(_) | BreakerState::HalfOpen => {
                (BreakerPhase::HalfOpen, Duration::ZERO)
            }
            BreakerState::Ramping => (BreakerPhase::Ramping, Duration::ZERO),
            _ => (BreakerPhase::Closed, Duration::ZERO),
        };
        BreakerSnapshot { phase, left }
    }

    /// Publishes what is read without the lock, and names a state that is not the one before.
    fn settle(&self, breaker: &backpressure_core::Breaker, before: BreakerState) -> Transition {
        let state = breaker.state();
        self.is_closed.store(state == BreakerState::Closed, Ordering::Release);
        let name = match state {
            BreakerState::Open(_) => "open",
            BreakerState::HalfOpen => "half-open",
            BreakerState::Ramping => "ramping",
            _ => "closed",
        };
        transition(&before, &state, name)
    }

    fn lock(&self) -> MutexGuard<'_, backpressure_core::Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A forgotten breaker opens again after a few calls. Kept, open breakers would have no bound.
impl Idle for OriginBreaker {
    fn is_idle(&self) -> bool {
        true
    }
}

impl Options {
    /// What a call says about the origin.
    fn ending(&self, ended: &Ended<'_>) -> CallEnding {
        let is_slow = self.slow.is_some_and(|slow| ended.latency >= slow);
        let outcome = match &ended.how {
            How::Cancelled if is_slow => return CallEnding::Slow,
            How::Cancelled => return CallEnding::Ignored,
            How::Error => return CallEnding::Failed { retry_after: None },
            How::Redirected => Outcome::Success,
            How::Response { outcome, .. } => *outcome,
        };
        match outcome {
            Outcome::Success if is_slow => CallEnding::Slow,
            Outcome::Success => CallEnding::Succeeded,
            Outcome::Failure => failed(&ended.how),
            Outcome::Overload if is_busy(&ended.how) => CallEnding::Ignored,
            Outcome::Overload => failed(&ended.how),
            _ => CallEnding::Ignored,
        }
    }
}

/// A server of this crate says that it schedules its requests, and a quota says nothing about the server.
fn is_busy(how: &How<'_>) -> bool {
    let How::Response { status, headers, .. } = how else { return false };
    *status == StatusCode::TOO_MANY_REQUESTS
        || grpc::status(headers) == Some(grpc::RESOURCE_EXHAUSTED)
        || is_of_one_request(headers)
}

fn failed(how: &How<'_>) -> CallEnding {
    let headers: Option<&HeaderMap> = match how {
        How::Response { headers, .. } => Some(headers),
        How::Redirected | How::Error | How::Cancelled => None,
    };
    CallEnding::Failed { retry_after: headers.and_then(told_wait) }
}
