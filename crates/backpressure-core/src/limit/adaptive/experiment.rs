//! Finding the knee behind an await: by trying.

use super::cohort::{Cohort, Comparison, MIN_SAMPLES, MOSTLY_WAITED, turnover};
use super::profile::HiddenQueue;
use super::search::{Search, Step};
use super::tracker::Tracker;
use crate::limit::ran_at;
use crate::limit_change::Cause;
use crate::sample::Sample;
use crate::time::Timestamp;

mod bottom;
mod demand;
mod promise;
mod settling;

use bottom::Bottom;
use promise::Promise;
use settling::Settling;

/// Latency alone cannot tell slower from fuller. An experiment can: run at two limits and compare.
///
/// First the knee is searched for in large steps, then the limit stays there and moves in small
/// ones; when latency is suddenly another, the search begins anew.
#[derive(Debug)]
pub(super) struct Experiment {
    mode: Mode,
    /// The limit in force.
    limit: f64,
    /// Whether an attempt has ended that was admitted at the limit. The first to end are the short
    /// ones: settling counts from there.
    reached: bool,
    /// Those that ended before.
    short: Cohort,
    /// Those that ended since then and ran at the limit, settled or not: a first impression.
    impression: Cohort,
    /// What has to end until those that follow have seen no other limit.
    settling: Settling,
    /// Those that ended since then.
    cell: Cohort,
    /// Those that ended of late.
    usual: Cohort,
    /// Those of late when the limit was first raised because it had stalled.
    before_stall: Option<Cohort>,
    /// Seconds that a place was held for an answer when the limit was last found right.
    cost: Option<f64>,
    /// What the limit rests on.
    cause: Cause,
    /// Whether a limit that is too low is being paid for: only then is it worth guarding the knee.
    overloaded: bool,
    /// Whether a limit was found above which requests wait for each other.
    known: bool,
    /// Whether it is a client's.
    guarding: bool,
    /// Whether it began near the knee, so that no limit is tried that is far below, or above on a first impression.
    is_near_knee: bool,
    /// What that knee is expected to do.
    promise: Option<Promise>,
    /// Where the last search began.
    search_began_at: f64,
}

#[derive(Debug)]
enum Mode {
    /// Measures where it stands, before a search; or after what looked like a change.
    Base(Option<Tracker>),
    Search(Search),
    Tracker(Tracker),
    /// At the lowest limit, where not even single attempts are answered.
    Bottom(Bottom),
}

/// Factor on the knee that was found, while no request would be refused for a limit that is too high.
const CALM_LIMIT_FACTOR: f64 = 1.2;
/// A limit that was not reached in so many turnovers of it binds nothing: there is no need to go on.
const UNREACHED_TURNOVERS: f64 = 2.0;
/// `usual` stands for so many attempts at most.
const MAX_RECENT_SAMPLES: f64 = 512.0;
/// Relative error of the latency that a search begins with, squared.
const BASE_RELATIVE_VARIANCE: f64 = 0.012;
/// Permits that are held this many times as long as before: the limit may be far too low, and is searched for anew.
const SLOWDOWN_FACTOR: f64 = 4.0;
/// Turnovers of the limit in which that must be seen: of requests admitted together the first to end are the short ones.
const SLOWED_TURNOVERS: f64 = 2.0;

impl Experiment {
    pub(super) fn new(limit: f64, overloaded: bool) -> Self {
        Self {
            mode: Mode::Base(None),
            limit,
            reached: false,
            short: Cohort::default(),
            impression: Cohort::default(),
            settling: Settling::first(limit),
            cell: Cohort::default(),
            usual: Cohort::default(),
            before_stall: None,
            cost: None,
            cause: Cause::Demand { overloaded },
            overloaded,
            known: false,
            guarding: false,
            is_near_knee: false,
            promise: None,
            search_began_at: limit,
        }
    }

    /// One that guards the knee whatever the demand.
    pub(super) fn guarding(limit: f64) -> Self {
        Self { guarding: true, ..Self::new(limit, true) }
    }

    /// One that begins where the knee seems to be, while so many are in flight.
    pub(super) fn at_knee(queue: &HiddenQueue, in_flight: f64, overloaded: bool) -> Self {
        let mut experiment = Self { is_near_knee: true, ..Self::new(in_flight, overloaded) };
        experiment.go(queue.knee);
        experiment
    }

    /// One that begins where the knee seems to be, goes where attempts say if that knee does not keep what it
    /// promises, and guards the knee whatever the demand. It is for attempts that are admitted from now on.
    pub(super) fn guarding_knee(queue: &HiddenQueue, in_flight: f64) -> Self {
        Self {
            is_near_knee: true,
            promise: Some(Promise { seconds: queue.free, most: in_flight }),
            settling: Settling::up(queue.knee),
            ..Self::guarding(queue.knee)
        }
    }

    pub(super) fn limit(&self) -> f64 {
        match self.mode {
            Mode::Tracker(_) if !self.overloaded => CALM_LIMIT_FACTOR * self.limit,
            _ => self.limit,
        }
    }

    pub(super) const fn is_known(&self) -> bool {
        self.known
    }

    /// Goes to a higher limit, as the present one protects nothing.
    pub(super) fn stalled(&mut self, higher: f64) {
        let is_measured = self.usual.count() >= MIN_SAMPLES;
        self.before_stall = self.before_stall.or_else(|| is_measured.then_some(self.usual));
        self.start_at(higher);
    }

    /// Goes to another limit, and looks whether latency there is what it was.
    pub(super) fn start_at(&mut self, limit: f64) {
        self.mode = match self.mode {
            Mode::Tracker(tracker) | Mode::Base(Some(tracker)) => Mode::Base(Some(tracker)),
            Mode::Base(None) | Mode::Search(_) | Mode::Bottom(_) => Mode::Base(None),
        };
        self.go(limit);
    }

    /// Learns from an attempt that ended; what the limit rests on when it has moved.
    pub(super) fn observe(&mut self, sample: &Sample, now: Timestamp) -> Option<Cause> {
        let before = self.limit();
        let usual = self.usual.mean();
        self.usual.add(sample, usual);
        if self.usual.count() > MAX_RECENT_SAMPLES {
            self.usual.fade();
        }
        self.settle(sample, usual);
        match &mut self.mode {
            Mode::Base(_) => self.begin(),
            Mode::Search(_) => self.search(),
            Mode::Bottom(_) => self.look_up(),
            Mode::Tracker(tracker) if self.overloaded => {
                tracker.add(sample, now - sample.latency, usual);
                self.tracker(now);
            }
            Mode::Tracker(_) => {}
        }
        (self.limit() != before).then_some(self.cause)
    }

    fn settle(&mut self, sample: &Sample, usual: f64) {
        let at_limit = ran_at(sample, self.limit);
        self.reached |= at_limit;
        if at_limit {
            self.impression.add(sample, usual);
        }
        if self.reached && self.settling.goes_on(self.usual.spread()) {
            self.settling.ended(f64::from(sample.weight) * turnover(sample, usual));
        } else if at_limit {
            self.cell.add(sample, usual);
        } else if !self.reached {
            self.short.add(sample, usual);
        }
    }

    fn begin(&mut self) {
        let Mode::Base(before) = self.mode else { return };
        let enough = (self.cell.spread().min(settling::MAX_SPREAD) / BASE_RELATIVE_VARIANCE)
            .max(MIN_SAMPLES);
        let promise = self.promise;
        if let Some(limit) = promise.and_then(|it| it.broken(self.limit, &self.impression)) {
            self.promise = None;
            return self.go(limit);
        }
        if self.cell.count() < enough {
            return;
        }
        self.promise = None;
        if let Some(before) = before.filter(|before| !before.differs_from(&self.cell)) {
            return self.stay(before.hearing(&self.cell));
        }
        self.usual = self.cell;
        self.search_began_at = self.limit;
        if self.cell.is_in_vain() {
            self.cause = Cause::Abandoned { share: self.cell.abandoned_share() };
        }
        let rise = self.before_stall.take().map(|before| before.compare(&self.cell));
        let was_in_vain = rise.is_some_and(|rise| rise.elasticity >= MOSTLY_WAITED);
        self.step(match before {
            Some(before) if self.overloaded => {
                let grown = self.cell.cost() / before.usual().cost();
                Search::down(self.limit, self.cell, grown)
            }
            _ if was_in_vain || self.cell.is_in_vain() => Search::down(self.limit, self.cell, 2.0),
            _ if (self.guarding || !self.is_near_knee) && (self.overloaded || !self.known) => {
                Search::start(self.limit, self.cell)
            }
            _ => Search::up(self.limit, self.cell),
        });
    }

    fn search(&mut self) {
        let Mode::Search(search) = &self.mode else { return };
        if self.overloaded && self.is_unreached() {
            return self.stay(Tracker::at(self.limit));
        }
        let Some((next, seen)) = search.next(self.limit, &self.cell, &self.usual) else {
            return self.leap();
        };
        self.report(&seen);
        self.usual = self.cell;
        match next {
            Step::On(search) => self.step(search),
            Step::Knee(centre) => {
                self.known = true;
                self.cost = Some(self.usual.cost());
                self.stay(Tracker::at(centre));
            }
        }
    }

    /// Goes on upwards after one turnover of what is in flight, if nothing speaks against it.
    fn leap(&mut self) {
        let Mode::Search(search) = &self.mode else { return };
        if self.is_near_knee || self.impression.count() < self.limit.max(MIN_SAMPLES) {
            return;
        }
        if let Some(search) = search.leap(&self.impression) {
            self.step(search);
        }
    }

    fn step(&mut self, search: Search) {
        let next = search.candidate();
        if next == search.from() {
            return match search.is_in_vain() {
                true => self.wait_at_bottom(next),
                false => self.stay(Tracker::at(next)),
            };
        }
        let search = if self.guarding { search.guarding() } else { search };
        self.mode = Mode::Search(search);
        self.go(next);
    }

    /// Whether places are held so much longer than they were that the limit may be far too low: what
    /// takes long may be nothing scarce. At a limit that is small by then answers are few, and small steps
    /// would take minutes.
    fn is_slowed(&self) -> bool {
        let seen = self.impression.count() >= (SLOWED_TURNOVERS * self.limit).max(MIN_SAMPLES);
        seen && self.cost.is_some_and(|cost| self.impression.cost() > SLOWDOWN_FACTOR * cost)
    }

    fn tracker(&mut self, now: Timestamp) {
        if self.is_slowed() && !self.guarding {
            let base = self.impression;
            let before = self.cost.replace(base.cost()).unwrap_or_default();
            self.cause = Cause::Change { latency: (base.cost(), before) };
            self.usual = base;
            return self.step(Search::start(self.limit, base));
        }
        let residual = self.usual.residual();
        let Mode::Tracker(tracker) = &mut self.mode else { return };
        if tracker.is_upset_by(&self.cell) {
            self.cause = Cause::Change { latency: (self.cell.cost(), tracker.usual().cost()) };
            self.mode = Mode::Base(Some(*tracker));
            self.usual = self.cell;
            self.go(self.limit);
        } else if tracker.is_turn_over(residual, now) {
            let seen = tracker.turn(residual, now);
            let side = tracker.side();
            if let Some(seen) = seen {
                self.cost = Some(tracker.usual().cost());
                self.known |= seen.elasticity >= MOSTLY_WAITED;
                self.report(&seen);
            }
            self.go(side);
        }
    }

    fn stay(&mut self, tracker: Tracker) {
        let side = tracker.side();
        self.mode = Mode::Tracker(tracker);
        self.go(side);
    }

    fn report(&mut self, seen: &Comparison) {
        self.cause = (*seen).into();
    }

    fn go(&mut self, limit: f64) {
        self.reached = false;
        self.short = Cohort::default();
        self.impression = Cohort::default();
        self.settling = Settling::between(self.limit, limit, self.usual.spread());
        self.limit = limit;
        self.cell = Cohort::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::Outcome;

    /// Where a search goes first from a limit that was raised from 12 to 48 as it had stalled.
    fn after_a_stall(millis_before: u64, millis_at_48: u64) -> f64 {
        let mut experiment = Experiment::new(12.0, true);
        let attempts = |experiment: &mut Experiment, in_flight, millis| {
            let sample = Sample::new(Duration::from_millis(millis), Outcome::Success);
            experiment.observe(&Sample { in_flight, ..sample }, Timestamp::ZERO);
        };
        (0..16).for_each(|_| attempts(&mut experiment, 12, millis_before));
        experiment.stalled(24.0);
        experiment.stalled(48.0);
        while experiment.limit() == 48.0 {
            attempts(&mut experiment, 48, millis_at_48);
        }
        experiment.limit()
    }

    #[test]
    fn a_limit_that_was_raised_in_vain_is_left_downwards() {
        assert_eq!(after_a_stall(100, 400), 24.0);
        assert_eq!(after_a_stall(100, 120), 96.0);
    }
}
