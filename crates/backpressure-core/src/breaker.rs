//! The circuit breaker: sends nothing to an origin that does no useful work.

use std::time::Duration;

use crate::ramp::{Pass, Ramp, next_phase};
use crate::time::Timestamp;

mod calls;

use self::calls::{Calls, RecentCalls};

/// Opens when nearly all calls fail or are slow, and closes by degrees.
///
/// ```text
/// Closed   → Open       enough calls in the window, and the share that failed or was slow is reached
/// Open     → HalfOpen   the open time has passed
/// HalfOpen → Ramping    all probes succeeded
/// HalfOpen → Open       a probe failed: for twice as long, up to four times the first time
/// Ramping  → Closed     enough calls succeeded
/// Ramping  → Open       calls fail again
/// ```
///
/// ```
/// use backpressure_core::{Breaker, BreakerDecision, BreakerSettings, CallEnding, Timestamp};
///
/// let mut breaker = Breaker::new(BreakerSettings::default());
/// let now = Timestamp::ZERO;
/// for _ in 0..20 {
///     let BreakerDecision::Send(pass) = breaker.decide(now) else { panic!("it is closed") };
///     breaker.ended(pass, CallEnding::Failed { retry_after: None }, now);
/// }
/// assert!(matches!(breaker.decide(now), BreakerDecision::Reject(_)));
/// ```
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    phase: Phase,
    /// Number of the phase, which passes carry.
    number: u32,
    /// How often it has opened since it was last closed.
    openings: u32,
}

/// The options of a [`Breaker`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BreakerSettings {
    /// Calls in the window below which it does not open. With few, chance would open it.
    pub min_calls: u32,
    /// The share of failed calls at which it opens. At 0.9 opening costs one useful response in ten at most;
    /// at 0.5, as is usual elsewhere, an origin that fails half of its calls would fail all of them.
    pub failure_share: f64,
    /// The share of slow calls at which it opens. Which calls are slow is the caller's knowledge.
    pub slow_share: f64,
    /// How long a call counts.
    pub window: Duration,
    /// How long it is open at first, unless the origin says for how long; doubled each time a probe fails, up to four
    /// times this. An origin that is back is found after that at the latest, and three calls in that time are no load.
    pub open_for: Duration,
    /// The longest time that it is open because the origin says so.
    pub max_open: Duration,
    /// Calls that have to succeed before it begins to close.
    pub probes: u32,
}

#[derive(Debug)]
enum Phase {
    Closed { recent: RecentCalls },
    Open { until: Timestamp },
    HalfOpen { since: Timestamp, in_flight: u32, succeeded: u32 },
    Ramping { ramp: Ramp, calls: Calls },
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerDecision {
    /// It is sent now.
    Send(Pass),
    /// It is rejected. After this time another one may be sent.
    Reject(Duration),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEnding {
    /// Useful work, in time.
    Succeeded,
    /// Useful work, later than it is worth.
    Slow,
    /// No useful work. The origin may have said when to come back.
    Failed {
        /// The time until then.
        retry_after: Option<Duration>,
    },
    /// It says nothing about the origin: the caller left, or its quota is used up.
    Ignored,
}

/// The state of a [`Breaker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls are sent.
    Closed,
    /// No call is sent before this moment.
    Open(Timestamp),
    /// A few calls find out whether the origin is back.
    HalfOpen,
    /// More calls after each success.
    Ramping,
}

/// How much longer than at first it is open at most where the origin names no time. With more, an origin that fails for
/// ten seconds would be found again after as long; with less, short failures would be probed too late or long ones too
/// often.
const LONGEST_OPEN: u32 = 4;

/// What a call that is rejected while others find out is told: about as long as finding out takes.
const RETRY_AFTER_WHILE_PROBING: Duration = Duration::from_secs(1);

impl Breaker {
    /// A closed breaker that has seen no call.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        let recent = RecentCalls::new(settings.window);
        Self { settings, phase: Phase::Closed { recent }, number: 0, openings: 0 }
    }

    /// Decides on a call.
    pub fn decide(&mut self, now: Timestamp) -> BreakerDecision {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return BreakerDecision::Reject(until.since(now));
            }
            self.enter(Phase::HalfOpen { since: now, in_flight: 0, succeeded: 0 });
        }
        let patience = self.settings.longest_open();
        let sends = match &mut self.phase {
            Phase::Closed { .. } => true,
            Phase::Open { .. } => false,
            Phase::HalfOpen { since, in_flight, succeeded } => {
                // Probes without a response are replaced. If they succeed later, they count: an origin may be slower
                // than that.
                if now.since(*since) >= patience {
                    (*since, *in_flight) = (now, 0);
                }
                let sends = *in_flight + *succeeded < self.settings.probes;
                *in_flight += u32::from(sends);
                sends
            }
            Phase::Ramping { ramp, .. } => ramp.admits(now),
        };
        match sends {
            true => BreakerDecision::Send(Pass(self.number)),
            false => BreakerDecision::Reject(RETRY_AFTER_WHILE_PROBING),
        }
    }

    /// What [`decide`](Self::decide) would tell a call that it rejects now; `None` where it would send it. Changes
    /// nothing.
    ///
    /// ```
    /// use backpressure_core::{Breaker, BreakerDecision, BreakerSettings, CallEnding, Timestamp};
    ///
    /// let (mut breaker, now) = (Breaker::new(BreakerSettings::default()), Timestamp::ZERO);
    /// for _ in 0..20 {
    ///     assert_eq!(breaker.would_reject(now), None);
    ///     let BreakerDecision::Send(pass) = breaker.decide(now) else { panic!("it is closed") };
    ///     breaker.ended(pass, CallEnding::Failed { retry_after: None }, now);
    /// }
    /// assert_eq!(breaker.would_reject(now), Some(BreakerSettings::default().open_for));
    /// ```
    #[must_use]
    pub fn would_reject(&self, now: Timestamp) -> Option<Duration> {
        match &self.phase {
            Phase::Closed { .. } => None,
            Phase::Open { until } => (now < *until).then(|| until.since(now)),
            Phase::HalfOpen { since, in_flight, succeeded } => {
                let is_over = now.since(*since) >= self.settings.longest_open();
                let has_room = *in_flight + *succeeded < self.settings.probes;
                (!is_over && !has_room).then_some(RETRY_AFTER_WHILE_PROBING)
            }
            Phase::Ramping { ramp, .. } => {
                (!ramp.has_room(now)).then_some(RETRY_AFTER_WHILE_PROBING)
            }
        }
    }

    /// A call has ended. One that was sent in an earlier phase says nothing about this one.
    pub fn ended(&mut self, pass: Pass, ending: CallEnding, now: Timestamp) {
        if pass != Pass(self.number) && !self.counts_untracked(pass) {
            return;
        }
        match &mut self.phase {
            Phase::Closed { recent } => {
                let Some(calls) = Calls::of(ending) else { return };
                recent.add(calls, now);
                let calls = recent.sum();
                if calls.all >= self.settings.min_calls && self.is_broken(calls) {
                    self.open(ending, now);
                }
            }
            Phase::Open { .. } => {}
            Phase::HalfOpen { .. } => self.end_probe(ending, now),
            Phase::Ramping { .. } => self.end_in_ramp(ending, now),
        }
    }

    /// The state now.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until } => BreakerState::Open(until),
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::Ramping { .. } => BreakerState::Ramping,
        }
    }

    /// While it is closed, calls are sent without a decision.
    const fn counts_untracked(&self, pass: Pass) -> bool {
        pass.0 == Pass::UNTRACKED.0 && matches!(self.phase, Phase::Closed { .. })
    }

    fn end_probe(&mut self, ending: CallEnding, now: Timestamp) {
        let Phase::HalfOpen { in_flight, succeeded, .. } = &mut self.phase else { return };
        *in_flight = in_flight.saturating_sub(1);
        match ending {
            CallEnding::Ignored => {}
            CallEnding::Failed { .. } | CallEnding::Slow => self.open(ending, now),
            CallEnding::Succeeded => {
                *succeeded += 1;
                if *succeeded >= self.settings.probes {
                    let ramp = Ramp::starting_at(self.settings.probes, now);
                    self.enter(Phase::Ramping { ramp, calls: Calls::default() });
                }
            }
        }
    }

    fn end_in_ramp(&mut self, ending: CallEnding, now: Timestamp) {
        let Phase::Ramping { ramp, calls } = &mut self.phase else { return };
        ramp.ended(now);
        let Some(call) = Calls::of(ending) else { return };
        *calls = calls.plus(call);
        match ending {
            CallEnding::Succeeded => ramp.grow(),
            _ => ramp.shrink(),
        }
        let (calls, bad) = (*calls, calls.failed.max(calls.slow));
        if bad >= self.settings.probes && self.is_broken(calls) {
            self.open(ending, now);
        } else if calls.all - bad >= self.settings.min_calls {
            self.openings = 0;
            let recent = RecentCalls::new(self.settings.window);
            self.enter(Phase::Closed { recent });
        }
    }

    fn is_broken(&self, calls: Calls) -> bool {
        let share = |count: u32| f64::from(count) / f64::from(calls.all.max(1));
        share(calls.failed) >= self.settings.failure_share
            || share(calls.slow) >= self.settings.slow_share
    }

    /// The origin's own word on when to come back takes precedence over the open time.
    fn open(&mut self, ending: CallEnding, now: Timestamp) {
        let told = match ending {
            CallEnding::Failed { retry_after } => retry_after,
            _ => None,
        };
        let doubled = self.settings.open_for.saturating_mul(2_u32.pow(self.openings.min(8)));
        let open_for = told.unwrap_or_else(|| doubled.min(self.settings.longest_open()));
        self.openings = self.openings.saturating_add(1);
        self.enter(Phase::Open { until: now + open_for.min(self.settings.max_open) });
    }

    fn enter(&mut self, phase: Phase) {
        (self.phase, self.number) = (phase, next_phase(self.number));
    }
}

impl BreakerSettings {
    /// The longest time that it is open where the origin names none, and that a probe is waited for.
    fn longest_open(&self) -> Duration {
        self.open_for.saturating_mul(LONGEST_OPEN).min(self.max_open)
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            min_calls: 20,
            failure_share: 0.9,
            slow_share: 0.9,
            window: Duration::from_secs(10),
            open_for: Duration::from_millis(500),
            max_open: Duration::from_secs(60),
            probes: 3,
        }
    }
}

#[cfg(test)]
mod tests;
