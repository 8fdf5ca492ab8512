//! Staying at the knee.

use std::time::Duration;

use super::cohort::{Cohort, Comparison, MIN_SAMPLES};
use crate::limit::{MAX, ran_at};
use crate::sample::Sample;
use crate::time::Timestamp;

/// Runs a little above and a little below by turns, and moves to where most of the difference
/// waits: there capacity is used and hardly any request waits for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tracker {
    centre: f64,
    /// Turns that are over.
    turns: u32,
    /// This turn and the one before, whose late ones are still coming in.
    now: Turn,
    before: Turn,
    low: Cohort,
    high: Cohort,
    /// Both sides, as of the last decision.
    usual: Cohort,
}

/// A time at one limit, and the attempts admitted in it.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    limit: f64,
    begun: Timestamp,
    /// Attempts admitted from here on meet none of the turn before.
    settled: Timestamp,
    cell: Cohort,
}

/// Logarithm of the higher limit of a turn over the lower.
const TURN_WIDTH_LN: f64 = 0.24;
/// Elasticity at which the limit stays.
const TARGET_ELASTICITY: f64 = 0.82;
/// Error of an elasticity that a move asks for.
const MAX_ELASTICITY_ERROR: f64 = 0.3;
/// Latency that is longer or shorter by less, in logarithm, is no change.
const CHANGED_LATENCY_LN: f64 = 0.35;
/// Standard deviations that pass for chance.
const CHANGED_LATENCY_DEVIATIONS: f64 = 7.0;
/// A turn lasts for so many turnovers of what is in flight, and at least so many attempts.
const MIN_TURNOVERS_PER_TURN: f64 = 2.0;
const MIN_SAMPLES_PER_TURN: f64 = 24.0;
/// And for so many times what an attempt in flight still takes.
const MIN_RESIDUAL_LIVES_PER_TURN: f64 = 4.0;
/// Turns from one decision to the next.
const TURNS_PER_DECISION: u32 = 5;

impl Tracker {
    pub(super) fn at(centre: f64) -> Self {
        let none = Cohort::default();
        let mut tracker = Self {
            centre: centre.clamp(1.0, MAX as f64),
            turns: 0,
            now: Turn::default(),
            before: Turn::default(),
            low: none,
            high: none,
            usual: none,
        };
        tracker.now.limit = tracker.side();
        tracker
    }

    /// The same, after what looked like a change and was none.
    pub(super) fn hearing(mut self, cell: &Cohort) -> Self {
        self.usual = self.usual.and(cell);
        self
    }

    pub(super) const fn usual(&self) -> &Cohort {
        &self.usual
    }

    /// The limit of this turn.
    pub(super) fn side(&self) -> f64 {
        let low = (self.centre * (-TURN_WIDTH_LN / 2.0).exp()).round().max(1.0);
        let high = (self.centre * (TURN_WIDTH_LN / 2.0).exp()).round().max(low + 1.0);
        if is_high(self.turns) { high } else { low }
    }

    /// Learns from an attempt of this turn, or of the one before.
    pub(super) fn add(&mut self, sample: &Sample, admitted: Timestamp, usual: f64) {
        let turn = if admitted >= self.now.begun { &mut self.now } else { &mut self.before };
        if admitted >= turn.settled && ran_at(sample, turn.limit) {
            turn.cell.add(sample, usual);
        }
    }

    pub(super) fn is_turn_over(&self, residual: f64, now: Timestamp) -> bool {
        self.now.cell.count() >= (MIN_TURNOVERS_PER_TURN * self.now.limit).max(MIN_SAMPLES_PER_TURN)
            && now.since(self.now.begun).as_secs_f64() > MIN_RESIDUAL_LIVES_PER_TURN * residual
    }

    /// Whether latency is another than it was, as far as can be told so soon: in more attempts where most are
    /// short and a few take long.
    pub(super) fn is_upset_by(&self, cell: &Cohort) -> bool {
        cell.count() >= MIN_SAMPLES * (1.0 + self.usual.spread()) && self.differs_from(cell)
    }

    /// Whether latency is another than it was, beyond doubt and by a factor that matters.
    pub(super) fn differs_from(&self, cell: &Cohort) -> bool {
        self.usual.count() > 0.0
            && cell.differs_from(&self.usual, CHANGED_LATENCY_LN, CHANGED_LATENCY_DEVIATIONS)
    }

    /// A turn is over; what was found, if that was enough.
    pub(super) fn turn(&mut self, residual: f64, now: Timestamp) -> Option<Comparison> {
        if self.turns > 0 {
            let side = if is_high(self.turns - 1) { &mut self.high } else { &mut self.low };
            *side = side.and(&self.before.cell);
        }
        self.turns += 1;
        let found = if self.turns % TURNS_PER_DECISION == 1 && self.turns > 1 {
            self.decide()
        } else {
            None
        };
        self.before = self.now;
        let settled = now + Duration::try_from_secs_f64(residual).unwrap_or(Duration::ZERO);
        self.now = Turn { limit: self.side(), begun: now, settled, cell: Cohort::default() };
        found
    }

    fn decide(&mut self) -> Option<Comparison> {
        let seen = self.low.compare(&self.high);
        let both = self.low.and(&self.high);
        if self.usual.count() == 0.0 {
            self.usual = both;
        }
        if seen.error > MAX_ELASTICITY_ERROR {
            return None;
        }
        let centre = self.centre * step(&seen, self.centre).exp();
        let now = self.now;
        *self = Self { usual: both, now, ..Self::at(centre) };
        Some(seen)
    }
}

/// Mostly high, where the comparison costs no goodput; low in the middle, so that a drift does not
/// look like a difference.
const fn is_high(turn: u32) -> bool {
    turn % TURNS_PER_DECISION != TURNS_PER_DECISION / 2
}

/// How far to move, in logarithm.
fn step(seen: &Comparison, centre: f64) -> f64 {
    let off =
        (seen.elasticity - TARGET_ELASTICITY).clamp(-TARGET_ELASTICITY, 1.0 - TARGET_ELASTICITY);
    -off * TURN_WIDTH_LN.max(1.0 / centre)
}
