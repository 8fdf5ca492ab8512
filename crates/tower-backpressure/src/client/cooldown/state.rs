//! The cool-down of one origin, and what its responses say about when to come back.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backpressure_core::{
    CooldownDecision, CooldownState, Ending, Others, Outcome, Pass, Priority, Reason, Timestamp,
    Told,
};
use http::{HeaderMap, StatusCode};

use super::{CooldownPhase, CooldownSnapshot};
use crate::client::classify::is_of_proxy_without_server;
use crate::client::jitter::Jitter;
use crate::client::retry::{MIN_WAIT_AFTER_FAILED_CONNECTION, MIN_WAIT_AFTER_REJECTION};
use crate::client::supervised::{
    Ended, Held, How, Supervision, Transition, Verdict, told_wait, transition,
};
use crate::headers::retry_after::RetryAfter;
use crate::headers::retry_after_scope::is_of_one_request;
use crate::keyed_map::Idle;
use crate::observe::{Kind, PartReport};

/// The options of the layer that its decisions need.
#[derive(Clone)]
pub struct Options {
    pub(super) max_cooldown: Duration,
    pub(super) jitter: Jitter,
    pub(super) told: Option<Arc<ToldRule>>,
}

pub(super) type ToldRule = dyn Fn(StatusCode, &HeaderMap) -> Option<Duration> + Send + Sync;

/// The cool-down of one origin.
#[derive(Debug)]
pub struct OriginCooldown {
    cooldown: Mutex<backpressure_core::Cooldown>,
    /// Whether requests are sent without a decision.
    is_open: AtomicBool,
    /// Whether an answer has come since the last rejection.
    has_answered: AtomicBool,
    held: Arc<Held>,
    /// How many attempts were sent, and how many have ended.
    sent: AtomicUsize,
    ended: AtomicUsize,
}

impl Supervision for OriginCooldown {
    type Options = Options;

    const REASON: Reason = Reason::Cooldown;

    const KIND: Kind = Kind::Cooldown;

    fn new(_options: &Options) -> Self {
        Self {
            cooldown: Mutex::new(backpressure_core::Cooldown::new()),
            is_open: AtomicBool::new(true),
            has_answered: AtomicBool::new(false),
            held: Arc::default(),
            sent: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        }
    }

    fn decide(
        &self,
        _options: &Options,
        _priority: Priority,
        now: Timestamp,
    ) -> (Verdict, Transition) {
        let mut cooldown = self.lock();
        let before = cooldown.state();
        let verdict = match cooldown.decide(now) {
            CooldownDecision::Wait { until, ask_at } => {
                let is_fixed = matches!(before, CooldownState::Quiet(_));
                Verdict::Wait { until, ask_at, is_fixed }
            }
            CooldownDecision::Send(pass) => Verdict::Send(pass),
            _ => Verdict::Send(Pass::UNTRACKED),
        };
        (verdict, self.settle(&cooldown, before))
    }

    fn sent(&self) -> usize {
        self.sent.fetch_add(1, Ordering::Relaxed)
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    fn ended(
        &self,
        options: &Options,
        ended: &Ended<'_>,
        now: impl FnOnce() -> Timestamp,
    ) -> Transition {
        let ended_before = self.ended.fetch_add(1, Ordering::Relaxed);
        let ending = options.ending(&ended.how);
        let is_answered = ending == Ending::Answered;
        let is_untracked = ended.pass == Pass::UNTRACKED;
        if is_untracked && is_answered && self.has_answered.load(Ordering::Relaxed) {
            return None;
        }
        if is_untracked && matches!(ending, Ending::Failed | Ending::Cancelled) {
            return None;
        }
        let (now, mut cooldown) = (now(), self.lock());
        let before = cooldown.state();
        self.has_answered.store(is_answered, Ordering::Relaxed);
        let older = ended.number.saturating_sub(ended_before);
        let others = Others { held: self.held.count(), older };
        cooldown.ended(ended.pass, ending, others, now);
        let transition = self.settle(&cooldown, before);
        match cooldown.state() {
            CooldownState::Inactive => self.held.wake_all(),
            CooldownState::Resuming => self.held.wake(WOKEN_WHILE_RESUMING),
            _ if ending == Ending::Cancelled => self.held.wake(1),
            _ => {}
        }
        transition
    }

    fn resumes_at(&self) -> Option<Timestamp> {
        if self.is_open() {
            return None;
        }
        match self.lock().state() {
            CooldownState::Quiet(until) => Some(until),
            _ => None,
        }
    }

    fn has_told_again(&self) -> bool {
        self.lock().has_told_again()
    }

    fn held(&self) -> Option<&Arc<Held>> {
        Some(&self.held)
    }

    fn fill(&self, part: &mut PartReport, now: Timestamp) {
        let CooldownSnapshot { phase, left, held, .. } = self.snapshot(now);
        part.state = Some(phase.as_str());
        part.left = left;
        part.held = held;
    }
}

impl OriginCooldown {
    /// What is left of a cool-down, for an attempt that came now; without a lock while there is none.
    pub(super) fn pause(&self, now: impl FnOnce() -> Timestamp) -> Option<Duration> {
        if self.is_open() { None } else { self.lock().pause(now()) }
    }

    /// The origin has rejected an attempt with an error, which named no time.
    pub(super) fn rejected_by_error(&self, options: &Options, now: Timestamp) -> Transition {
        let mut cooldown = self.lock();
        let before = cooldown.state();
        self.has_answered.store(false, Ordering::Relaxed);
        let told = Told::Quota(options.bounded(MIN_WAIT_AFTER_REJECTION));
        let others = Others { held: self.held.count(), ..Others::default() };
        cooldown.ended(Pass::UNTRACKED, Ending::Told(told), others, now);
        self.settle(&cooldown, before)
    }

    pub(super) fn snapshot(&self, now: Timestamp) -> CooldownSnapshot {
        let (phase, left) = match self.lock().state() {
            CooldownState::Quiet(until) if until > now => (CooldownPhase::Quiet, until.since(now)),
            CooldownState::Quiet(_) | CooldownState::Probing => {
                (CooldownPhase::Probing, Duration::ZERO)
            }
            CooldownState::Resuming => (CooldownPhase::Resuming, Duration::ZERO),
            _ => (CooldownPhase::Inactive, Duration::ZERO),
        };
        CooldownSnapshot { phase, left, held: self.held.count() }
    }

    /// Publishes what is read without the lock, and names a state that is not the one before.
    fn settle(&self, cooldown: &backpressure_core::Cooldown, before: CooldownState) -> Transition {
        let state = cooldown.state();
        self.is_open.store(state == CooldownState::Inactive, Ordering::Release);
        let name = match state {
            CooldownState::Quiet(_) => "quiet",
            CooldownState::Probing => "probing",
            CooldownState::Resuming => "resuming",
            _ => "inactive",
        };
        transition(&before, &state, name)
    }

    fn lock(&self) -> MutexGuard<'_, backpressure_core::Cooldown> {
        self.cooldown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A forgotten cool-down costs the origin a few requests. Kept, cool-downs would have no bound.
impl Idle for OriginCooldown {
    fn is_idle(&self) -> bool {
        true
    }
}

impl Options {
    /// What an attempt says about the origin.
    fn ending(&self, how: &How<'_>) -> Ending {
        let (outcome, status, headers) = match how {
            How::Cancelled => return Ending::Cancelled,
            How::Error => return self.unanswered(),
            How::Redirected => return Ending::Answered,
            How::Response { outcome, status, headers } => (*outcome, *status, *headers),
        };
        if let Some(wait) = self.told.as_ref().and_then(|rule| rule(status, headers)) {
            return Ending::Told(Told::Quota(self.bounded(wait)));
        }
        match outcome {
            // A layer inside rejected it: it was not sent.
            Outcome::Ignore => Ending::Cancelled,
            Outcome::Overload => self.rejection(status, headers),
            _ if status.as_u16() == SITE_IS_OVERLOADED => self.rejection(status, headers),
            Outcome::Success => Ending::Answered,
            _ if is_of_proxy_without_server(status) => self.unanswered(),
            _ => Ending::Failed,
        }
    }

    fn rejection(&self, status: StatusCode, headers: &HeaderMap) -> Ending {
        let is_quota = status == StatusCode::TOO_MANY_REQUESTS;
        // Such a server schedules each request by itself, and goes on serving others.
        let is_personal = is_of_one_request(headers);
        match told_wait(headers) {
            _ if is_personal => Ending::Failed,
            Some(wait) if is_quota => Ending::Told(Told::Quota(self.bounded(wait))),
            Some(wait) => Ending::Told(Told::Load(self.bounded(wait))),
            None if is_of_proxy_without_server(status) => self.unanswered(),
            None => Ending::Failed,
        }
    }

    fn unanswered(&self) -> Ending {
        let pause = MIN_WAIT_AFTER_FAILED_CONNECTION;
        Ending::Unanswered(pause + self.jitter.up_to(pause))
    }

    /// Bounded, with jitter.
    fn bounded(&self, told: Duration) -> Duration {
        let told = told.min(self.max_cooldown);
        told + self.jitter.up_to(RetryAfter::RESOLUTION.max(told / JITTER_DIVISOR))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("max_cooldown", &self.max_cooldown)
            .field("has_rule", &self.told.is_some())
            .finish_non_exhaustive()
    }
}

/// Not registered; used by several large APIs under overload.
const SITE_IS_OVERLOADED: u16 = 529;
/// Jitter of one part in this many, as in `RetryLayer`.
const JITTER_DIVISOR: u32 = 10;
/// A response frees a place and makes room for one more.
const WOKEN_WHILE_RESUMING: usize = 2;
