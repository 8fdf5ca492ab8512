//! The limit of a client.

use super::experiment::Experiment;
use super::window::Window;
use crate::decision::{Cause, Decision};
use crate::limit::{Limit, MAX};
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::time::Timestamp;

/// Finds how many requests a client may usefully have in flight at a server.
///
/// It is the half of [`Adaptive`](crate::Adaptive) that needs to see nothing of the inside: latency is
/// compared at two limits, and the share of the difference that goes into latency says on which side
/// of the knee they are. How busy the workers of this process are says nothing about another. And as
/// a request that waits here is no worse off than one that waits there, the knee is guarded all the
/// time, not only under overload.
///
/// What the server refuses beats what was found by trying: it puts a ceiling over it. Where more than a
/// twentieth of a window is refused, with `n` in flight at most, the limit becomes, reached or not,
///
/// `L ← 0.9 · min(L, n)`
///
/// Once nothing more is refused the ceiling doubles back, a window at a time, to 0.9 of the most that was
/// in flight before, as TCP does up to its slow-start threshold. From there it rises by one place a
/// window, but only when twenty answers have come for each refusal: a refusal is fast, so that a
/// single place too many can turn away everybody who waits here.
///
/// Source: that of [`Adaptive`](crate::Adaptive) for the experiments; Jacobson, *Congestion Avoidance
/// and Control* (1988), for the way back, and RFC 7661 for the limit that was not reached.
///
/// Known to fail where fewer callers than the limit make a queue at the server: with nobody waiting
/// here there is nothing to compare. And each of several clients sees its own share alone; only what
/// the server refuses bounds them together.
///
/// ```
/// use backpressure_core::{Limit, Metering, Remote};
///
/// let limit = Remote::new();
/// assert_eq!((limit.limit(), limit.metering()), (100, Metering::Latency));
/// ```
#[derive(Debug)]
pub struct Remote {
    experiment: Experiment,
    /// What the server's refusals leave of it.
    ceiling: f64,
    /// How far the ceiling may rise without being careful.
    back: f64,
    /// The most that were in flight of late while nothing was refused.
    proven: f64,
    /// Refusals that no answers have made up for.
    owed: f64,
    /// Whether the last window was one of refusals.
    refusing: bool,
    /// Attempts since the last look that were admitted under the present ceiling.
    window: Window,
    /// The most of them that were in flight.
    most: f64,
    /// When the ceiling last moved.
    moved: Timestamp,
    decision: Option<Decision>,
}

/// To begin with. RFC 9113, section 6.5.2, recommends to allow a peer no fewer streams, "so as to
/// not unnecessarily limit parallelism".
const INITIAL: f64 = 100.0;
/// Share of attempts that has to be refused.
const PUSHBACK: f64 = 0.05;
/// Attempts that a share of them rests on, at least and at most; fewer will do on a way that was gone
/// before.
const MANY: f64 = 32.0;
const MOST: f64 = 400.0;
const FEW: f64 = 8.0;
/// What is left of a limit then.
const BACKOFF: f64 = 0.9;
/// A step on the way back.
const RETURN: f64 = 2.0;
/// Refusals are made up for by so many answers at most: an outage, however long, is over in the end.
const FORGIVEN: f64 = 1_000.0;

impl Remote {
    /// A limit that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            experiment: Experiment::guarding(INITIAL),
            ceiling: f64::INFINITY,
            back: f64::INFINITY,
            proven: 0.0,
            owed: 0.0,
            refusing: false,
            window: Window::default(),
            most: 0.0,
            moved: Timestamp::ZERO,
            decision: None,
        }
    }

    fn exact(&self) -> f64 {
        self.experiment.limit().min(self.ceiling).clamp(1.0, MAX as f64)
    }

    /// Attempts a look rests on: two turnovers of the limit, within reason.
    fn enough(&self) -> f64 {
        let least = if self.ceiling < self.back { FEW } else { MANY };
        (2.0 * self.exact()).clamp(least, MOST)
    }

    /// A window's worth of attempts has ended.
    fn look(&mut self, now: Timestamp) {
        let window = std::mem::take(&mut self.window);
        let most = std::mem::take(&mut self.most);
        let refused = window.overload_share();
        let owed = self.owed + (refused - PUSHBACK) * window.count();
        self.owed = owed.clamp(0.0, PUSHBACK * FORGIVEN);
        let from = self.limit();
        if refused > PUSHBACK {
            self.lower(self.exact().min(most), now);
        } else {
            self.proven = most.max(BACKOFF * self.proven);
            self.raise(now);
        }
        self.explain(from, Cause::Pushback { refused }, now);
    }

    fn lower(&mut self, reached: f64, now: Timestamp) {
        let ceiling = (BACKOFF * reached).max(1.0);
        if !self.refusing {
            self.back = ceiling.max(BACKOFF * self.proven);
        }
        (self.refusing, self.ceiling, self.moved) = (true, ceiling, now);
    }

    fn raise(&mut self, now: Timestamp) {
        self.refusing = false;
        if self.ceiling < self.back {
            self.ceiling = (RETURN * self.ceiling).min(self.back);
            self.moved = now;
        } else if self.owed == 0.0 {
            self.ceiling += 1.0;
        }
    }

    fn explain(&mut self, from: usize, because: Cause, now: Timestamp) {
        let to = self.limit();
        if from != to {
            self.decision = Some(Decision { at: now, from, to, because });
        }
    }
}

impl Default for Remote {
    fn default() -> Self {
        Self::new()
    }
}

impl Limit for Remote {
    fn limit(&self) -> usize {
        self.exact().round() as usize
    }

    fn observe(&mut self, sample: &Sample, now: Timestamp) {
        if matches!(sample.outcome, Outcome::Ignore | Outcome::Failure) {
            return;
        }
        if sample.outcome == Outcome::Success {
            let from = self.limit();
            if let Some(because) = self.experiment.observe(sample, now) {
                self.explain(from, because, now);
            }
        }
        if now - sample.latency < self.moved {
            return;
        }
        self.window.add(sample, now);
        self.most = self.most.max(sample.in_flight as f64);
        if self.window.count() >= self.enough() {
            self.look(now);
        }
    }

    fn decision(&self) -> Option<Decision> {
        self.decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Answers that come one after the other.
    struct Line {
        limit: Remote,
        now: Timestamp,
    }

    impl Line {
        fn new() -> Self {
            Self { limit: Remote::new(), now: Timestamp::ZERO }
        }

        /// So many end like this, admitted with so many in flight.
        fn end(&mut self, count: u32, outcome: Outcome, in_flight: usize) -> usize {
            let millis = if outcome == Outcome::Success { 20 } else { 1 };
            for _ in 0..count {
                let latency = Duration::from_millis(millis);
                self.now = self.now + latency / in_flight as u32;
                let sample = Sample { in_flight, ..Sample::new(latency, outcome) };
                self.limit.observe(&sample, self.now);
            }
            self.limit.limit()
        }
    }

    #[test]
    fn a_little_that_goes_well_changes_nothing() {
        assert_eq!(Line::new().end(100_000, Outcome::Success, 3), 100);
    }

    /// Two hundred callers at eight slots of 20 ms; how many are let in after that many answers, if the
    /// first of them make the latency be another, once at a hundred and once above.
    fn after_a_bad_start(answers: u32, above: f64) -> usize {
        let mut line = Line::new();
        for round in 0..answers {
            let in_flight = line.limit.limit().min(200);
            let seconds = match in_flight {
                101.. if round < 1_500 => 0.25 * above,
                _ => (in_flight as f64 / 400.0).max(0.02),
            };
            line.now = line.now + Duration::from_secs_f64(seconds / in_flight as f64);
            let latency = Duration::from_secs_f64(seconds);
            let sample = Sample { in_flight, ..Sample::new(latency, Outcome::Success) };
            line.limit.observe(&sample, line.now);
        }
        line.limit.limit()
    }

    #[test]
    fn a_step_that_is_measured_somewhat_wrong_does_not_keep_it_high() {
        let limit = after_a_bad_start(4_000, 1.6);
        assert!((6..=16).contains(&limit), "{limit}");
    }

    #[test]
    fn a_fast_failure_is_no_fast_service() {
        let mut line = Line::new();
        assert_eq!(line.end(10_000, Outcome::Ignore, 100), 100);
        assert!(line.limit.decision().is_none());
    }

    #[test]
    fn refusals_lower_a_limit_that_is_not_reached() {
        let mut line = Line::new();
        line.end(180, Outcome::Success, 40);
        assert_eq!(line.end(20, Outcome::Overload, 40), 36);
        let because = line.limit.decision().expect("it moved").because;
        assert!(
            matches!(because, Cause::Pushback { refused } if refused > PUSHBACK),
            "{because:?}"
        );
    }

    #[test]
    fn a_twentieth_that_is_refused_is_put_up_with() {
        let mut line = Line::new();
        for _ in 0..1_000 {
            line.end(24, Outcome::Success, 40);
            assert_eq!(line.end(1, Outcome::Overload, 40), 100);
        }
    }

    #[test]
    fn an_outage_however_long_closes_the_door_for_no_longer_than_it_lasts() {
        let mut line = Line::new();
        assert_eq!(line.end(1_000_000, Outcome::Overload, 100), 1);
        let mut answers = 0;
        while line.limit.limit() < 90 {
            let in_flight = line.limit.limit();
            line.end(1, Outcome::Success, in_flight);
            answers += 1;
        }
        assert!(answers < 600, "{answers} answers until it is open again");
    }

    #[test]
    fn one_place_too_many_is_tried_for_no_more_than_a_twentieth() {
        let mut line = Line::new();
        let (mut refused, mut answered) = (0, 0);
        // More wait than there is room for: with a place too many, all but one are turned away.
        for round in 0..20_000 {
            let limit = line.limit.limit();
            let outcome =
                if limit > 8 && round % 16 > 0 { Outcome::Overload } else { Outcome::Success };
            line.end(1, outcome, limit);
            if round >= 4_000 {
                refused += u32::from(outcome == Outcome::Overload);
                answered += u32::from(outcome == Outcome::Success);
            }
        }
        assert!(refused > 0 && 19 * refused < answered, "{refused} refused, {answered} answered");
    }

    #[test]
    fn half_an_hour_of_steady_load_with_some_refusals_does_not_drift() {
        let mut line = Line::new();
        for _ in 0..36_000 {
            line.end(99, Outcome::Success, 60);
            line.end(1, Outcome::Overload, 60);
        }
        assert_eq!(line.limit.limit(), 100);
    }
}
