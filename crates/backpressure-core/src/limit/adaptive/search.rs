//! Finding the knee in large steps.

use std::f64::consts::LN_2;

use super::cohort::{Cohort, Comparison, MIN_SAMPLES, MOSTLY_WAITED};
use crate::limit::MAX;

/// Halves as long as that shortens latency as much, or doubles as long as it does not lengthen it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// The limit to beat, and what it measured.
    from: f64,
    base: Cohort,
    /// The first impression of the last limit that was left on one.
    leapt: Option<Cohort>,
    /// What was measured at a limit that was too high.
    above: Option<Cohort>,
    down: bool,
    /// From this elasticity on the larger limit is too high.
    waited: f64,
    /// Steps that have paid.
    steps: u32,
    /// The factor from the limit to beat to the one to try.
    reach: f64,
    /// Whether neither direction is known to be right.
    is_start: bool,
}

/// What follows from a comparison.
#[derive(Debug)]
pub(super) enum Step {
    On(Search),
    Knee(f64),
}

/// Most attempts a step waits for, so that rare long requests do not hold a search up.
const MAX_SAMPLES_PER_STEP: f64 = 1_500.0;
/// Attempts of which none is answered that show a limit to be too high, where hardly any was answered before: there is
/// nothing to lose.
const MIN_UNANSWERED: f64 = 4.0;
/// Standard error of an elasticity at which a step is decided.
const MAX_ELASTICITY_ERROR: f64 = 0.25;
/// Factor on the attempts of a step whose elasticity lies between [`USED_ELASTICITY`] and [`WAITED_ELASTICITY`].
const OPEN_RESULT_SAMPLES_FACTOR: f64 = 3.0;
/// Elasticity from which on nearly all of the larger limit waited: the smaller one serves as much.
const WAITED_ELASTICITY: f64 = 0.8;
/// Elasticity of a doubling below which nearly all of it was used.
const USED_ELASTICITY: f64 = 0.3;
/// Elasticity above which a difference is no queue, by a standard error, and not even a service that slows down by the
/// square of what it has in flight: meanwhile it has become faster, and what was measured before says nothing. Nor
/// where hardly any attempt was answered before: what hung may answer again.
const MAX_QUEUE_ELASTICITY: f64 = 2.0;
/// Standard errors within which a limit above may have done as much as one below.
const DOUBT_DEVIATIONS: f64 = 2.0;
/// Largest factor of a first step up, however much latency has grown.
const MAX_FIRST_STEP_FACTOR: f64 = 16.0;
/// Overshoot of the estimated knee: this factor plus a share of the estimate's standard error. Without it
/// `slots-lognormal-2x` falls from .993 to .969 and `fewer-slots-opaque` from .988 to .957.
const KNEE_OVERSHOOT: f64 = 1.03;

impl Search {
    /// Downwards first: if latency has grown, that costs least, whatever the reason. If it turns
    /// out to be no queue, the limit has to grow as latency has, by Little's law.
    pub(super) fn down(from: f64, base: Cohort, grown: f64) -> Self {
        let reach = grown.clamp(2.0, MAX_FIRST_STEP_FACTOR);
        Self { down: true, reach, is_start: true, ..Self::up(from, base) }
    }

    /// Upwards first, where nothing is known: a start should be fast.
    pub(super) fn start(from: f64, base: Cohort) -> Self {
        Self { is_start: true, ..Self::up(from, base) }
    }

    /// Upwards, where all that is known asks for more.
    pub(super) fn up(from: f64, base: Cohort) -> Self {
        Self {
            from,
            base,
            leapt: None,
            above: None,
            down: false,
            waited: WAITED_ELASTICITY,
            steps: 0,
            reach: 2.0,
            is_start: false,
        }
    }

    /// The same for a client, where a request that waits is no worse off: in doubt it looks further down. One
    /// comparison in twenty is two errors off.
    pub(super) const fn guarding(self) -> Self {
        Self { waited: MOSTLY_WAITED, ..self }
    }

    pub(super) const fn from(&self) -> f64 {
        self.from
    }

    /// Whether hardly any attempt was answered at the limit to beat.
    pub(super) fn is_in_vain(&self) -> bool {
        self.base.is_in_vain()
    }

    /// The limit to try.
    pub(super) fn candidate(&self) -> f64 {
        let next = if self.down { self.from / self.factor() } else { self.from * self.reach };
        next.round().clamp(1.0, MAX as f64)
    }

    const fn factor(&self) -> f64 {
        if self.steps < 2 { 2.0 } else { 4.0 }
    }

    /// The next limit upwards, after a first impression of one: latency seems no longer than it was.
    ///
    /// Where nothing is scarce, a proof would take too long: thousands of attempts where a few take long
    /// and most do not. So the limit goes on as long as nothing speaks against it. What is compared
    /// in the end is still the limit from which it set out.
    pub(super) fn leap(&self, impression: &Cohort) -> Option<Self> {
        let waits = |before: &Cohort| {
            let seen = before.compare(impression);
            seen.elasticity >= MOSTLY_WAITED || !seen.is_used(1.0)
        };
        let goes_on = !self.down
            && !impression.is_in_vain()
            && !waits(&self.base)
            && !self.leapt.as_ref().is_some_and(waits);
        let next = Self { reach: 2.0 * self.reach, leapt: Some(*impression), ..*self };
        goes_on.then_some(next)
    }

    /// What follows from what was measured at `limit`; `None`: too little was.
    pub(super) fn next(
        &self,
        limit: f64,
        cell: &Cohort,
        usual: &Cohort,
    ) -> Option<(Step, Comparison)> {
        let spread = usual.spread().max(self.base.spread()).max(cell.spread());
        let width = (limit / self.from).ln().abs();
        let is_hopeless = self.down && self.is_in_vain() && cell.is_unanswered();
        let enough = match is_hopeless {
            true => MIN_UNANSWERED,
            false => (2.0 * spread / (MAX_ELASTICITY_ERROR * width).powi(2))
                .clamp(MIN_SAMPLES, MAX_SAMPLES_PER_STEP),
        };
        if cell.count() < enough {
            return None;
        }
        let (low, high) = if self.down { (cell, &self.base) } else { (&self.base, cell) };
        let seen = low.compare(high);
        if !seen.is_between(width) {
            // What is compared with was measured under an older limit.
            let again = || (Step::On(Self::start(limit, *cell)), seen);
            return (cell.count() >= MAX_SAMPLES_PER_STEP).then(again);
        }
        let open = !is_hopeless && (USED_ELASTICITY..WAITED_ELASTICITY).contains(&seen.elasticity);
        if open
            && cell.count()
                < OPEN_RESULT_SAMPLES_FACTOR
                    * enough.min(MAX_SAMPLES_PER_STEP / OPEN_RESULT_SAMPLES_FACTOR)
        {
            return None;
        }
        Some((self.judge(limit, cell, &seen, width), seen))
    }

    fn judge(&self, limit: f64, cell: &Cohort, seen: &Comparison, width: f64) -> Step {
        let used = seen.is_used(0.0);
        let is_served_again = self.is_in_vain() && !cell.is_in_vain();
        if self.down && (is_served_again || seen.elasticity - seen.error > MAX_QUEUE_ELASTICITY) {
            return Step::On(Self::start(limit, *cell));
        }
        let pays = if self.down { seen.elasticity > self.waited } else { used };
        let is_first = self.steps == 0 && self.above.is_none();
        let is_doubtful = if pays {
            !self.is_in_vain() && seen.elasticity - seen.error < MOSTLY_WAITED
        } else {
            is_first && self.is_start && !used && seen.elasticity + seen.error > self.waited
        };
        if self.down && is_doubtful {
            // The higher limit was looked at too briefly, or while its latency was still rising.
            return Step::On(Self { reach: self.from / limit, ..Self::start(limit, *cell) });
        }
        if pays {
            let above = if self.down { Some(self.base) } else { self.above };
            let next = Self { from: limit, base: *cell, above, steps: self.steps + 1, ..*self };
            return Step::On(Self { reach: next.factor(), ..next });
        }
        if !self.down && (self.base.is_in_vain() || cell.is_in_vain()) {
            let (from, base) =
                self.leapt.map_or((self.from, self.base), |leapt| (leapt.in_flight(), leapt));
            return Step::On(Self { from, base, down: true, above: Some(*cell), ..*self });
        }
        if is_first {
            if self.down && used {
                return Step::On(Self { down: false, ..*self });
            }
            if !self.down && self.is_start && seen.elasticity > self.waited {
                return Step::On(Self { down: true, above: Some(*cell), ..*self });
            }
        }
        if let Some(again) = self.up_again(cell).filter(|_| self.down && used) {
            return Step::On(again);
        }
        let beyond = KNEE_OVERSHOOT * (seen.error * width).clamp(0.0, 0.5).exp();
        Step::Knee(beyond * self.knee(limit, cell, used))
    }

    /// The search for a limit above once more, where what was measured there may have been chance: to stay below it
    /// would be for long. `cell` has done as much as the limit to beat.
    fn up_again(&self, cell: &Cohort) -> Option<Self> {
        let (above, below) = (self.above?, self.base.and(cell));
        let reach = above.in_flight() / self.from;
        let is_doubtful = below.compare(&above).is_used(DOUBT_DEVIATIONS);
        is_doubtful.then(|| Self { reach, ..Self::up(self.from, below) })
    }

    /// Little's law: what a limit that was too high does in a second, at the latency of one that
    /// was not.
    fn knee(&self, limit: f64, cell: &Cohort, used: bool) -> f64 {
        let (above, below) = match self.above {
            _ if !self.down => (*cell, self.base),
            Some(above) if used && !above.is_in_vain() => (above, self.base.and(cell)),
            _ => (self.base, *cell),
        };
        let knee = above.in_flight() * below.cost() / above.cost();
        knee.clamp(self.from.min(limit), self.from.max(limit))
    }
}

impl Comparison {
    /// Whether the numbers in flight differ by at least half of what the limits differ, in logarithm. They do not as
    /// long as most attempts that end were admitted under an older limit: those say nothing of the one in force.
    fn is_between(&self, width: f64) -> bool {
        2.0 * (self.limits.1 / self.limits.0).ln() >= width
    }

    /// Whether latency has grown by no more than where nearly all of a doubling was used, so many standard
    /// deviations less. A limit that is many times higher is held to the same: most of the way there may have
    /// been free, and the last of it a queue.
    fn is_used(&self, deviations: f64) -> bool {
        let wider = (self.limits.1 / self.limits.0).ln();
        (self.elasticity - deviations * self.error) * wider < USED_ELASTICITY * wider.min(LN_2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use crate::sample::Sample;
    use std::time::Duration;

    /// So many attempts, half of which take so many milliseconds and half three times as long.
    fn cell(attempts: u32, millis: u64, in_flight: usize) -> Cohort {
        let mut cell = Cohort::default();
        for attempt in 0..attempts {
            let latency = Duration::from_millis(millis * if attempt % 2 == 0 { 1 } else { 3 });
            cell.add(&Sample { in_flight, ..Sample::new(latency, Outcome::Success) }, 0.0);
        }
        cell
    }

    /// What a search downwards from 44 makes of 22, where latency was twice as long at 44.
    fn down_after(attempts: u32) -> Search {
        let search = Search::down(44.0, cell(attempts, 200, 44), 2.0);
        let low = cell(200, 100, 22);
        let (step, _) = search.next(22.0, &low, &low).expect("enough attempts");
        let Step::On(next) = step else { panic!("{step:?}") };
        next
    }

    #[test]
    fn a_limit_that_was_measured_well_is_left_for_a_lower_one() {
        assert!(down_after(300).candidate() < 22.0);
    }

    #[test]
    fn a_limit_that_was_measured_in_a_few_attempts_is_measured_again_before_it_is_left() {
        assert_eq!(down_after(2).candidate(), 44.0);
    }

    #[test]
    fn a_limit_that_was_measured_while_its_latency_rose_is_measured_again_before_the_search_ends() {
        let search = Search::down(44.0, cell(40, 160, 44), 2.0);
        let low = cell(200, 100, 22);
        let (step, _) = search.next(22.0, &low, &low).expect("enough attempts");
        let Step::On(next) = step else { panic!("{step:?}") };
        assert_eq!((next.from(), next.candidate()), (22.0, 44.0));
    }

    #[test]
    fn a_limit_that_was_measured_again_and_is_too_high_is_left_for_a_lower_one() {
        let again = down_after(2);
        let high = cell(100, 200, 44);
        let (step, _) = again.next(44.0, &high, &high).expect("enough attempts");
        let Step::On(next) = step else { panic!("{step:?}") };
        assert!(next.candidate() < 22.0);
    }

    #[test]
    fn a_search_does_not_end_below_a_limit_that_was_measured_in_a_few_attempts() {
        let ends_at = |above: Cohort| {
            let search =
                Search { down: true, above: Some(above), ..Search::up(12.0, cell(16, 100, 12)) };
            let low = cell(40, 100, 6);
            search.next(6.0, &low, &low).expect("enough attempts").0
        };
        let Step::On(next) = ends_at(cell(16, 140, 24)) else { panic!("it ends in doubt") };
        assert_eq!((next.from(), next.candidate()), (12.0, 24.0));
        assert!(matches!(ends_at(cell(400, 400, 24)), Step::Knee(_)));
    }

    #[test]
    fn what_hung_and_answers_again_is_searched_upwards() {
        let mut hung = Cohort::default();
        for _ in 0..50 {
            let left = Sample::new(Duration::from_millis(200), Outcome::Cancelled);
            hung.add(&Sample { in_flight: 12, ..left }, 0.2);
        }
        let low = cell(50, 100, 6);
        let (step, _) =
            Search::down(12.0, hung, 2.0).next(6.0, &low, &low).expect("enough attempts");
        let Step::On(next) = step else { panic!("{step:?}") };
        assert_eq!((next.from(), next.candidate()), (6.0, 12.0));
    }

    #[test]
    fn attempts_admitted_under_an_older_limit_decide_nothing() {
        let search = Search::down(769.0, cell(300, 800, 769), 2.0);
        let old = cell(300, 1_600, 1_537);
        assert!(search.next(384.0, &old, &old).is_none());
        let new = cell(300, 400, 384);
        assert!(search.next(384.0, &new, &new).is_some());
    }

    #[test]
    fn a_limit_that_was_measured_under_a_higher_one_is_measured_again() {
        let (old, new) = (cell(300, 800, 384), cell(1_500, 400, 148));
        let (step, _) = Search::start(74.0, old).next(148.0, &new, &new).expect("enough attempts");
        let Step::On(next) = step else { panic!("{step:?}") };
        assert_eq!((next.from(), next.candidate()), (148.0, 296.0));
    }
}
