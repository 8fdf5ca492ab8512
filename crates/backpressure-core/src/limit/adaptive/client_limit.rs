//! The limit of a client.

use std::time::Duration;

use super::experiment::Experiment;
use super::profile::LatencyProfile;
use crate::limit::{Limit, MAX, ran_at, rounded};
use crate::limit_change::{Cause, LimitChange};
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::time::Timestamp;

mod refusals;

use refusals::{Trial, Window};

/// Finds how many requests a client may usefully have in flight at a server.
///
/// It is the half of [`Adaptive`](crate::Adaptive) that needs to see nothing of the inside: latency is
/// compared at two limits, and the share of the difference that goes into latency says on which side
/// of the knee they are. How busy the workers of this process are says nothing about another. And as
/// a request that waits here is no worse off than one that waits there, the knee is guarded all the
/// time, not only under overload.
///
/// Refusals by the server put a ceiling over that limit, but only as far as a lower ceiling makes them
/// fewer. When significantly more than a tenth of a window is refused, with `n` in flight at most,
/// a trial begins: a ceiling of `n/2`, or of `n/4` where refusals are frequent, is in force by turns with the one before. What
/// has to wait in one turn is sent in the next. The odds of a refusal, refusals for each answer, are compared:
///
/// `e = ln(odds / lower odds) / ln(in flight / lower number in flight)`
///
/// A server with room for `k` requests refuses what is above. Its odds fall at least in proportion,
/// `e ≥ 1`, and the ceiling stays low. Refusals that load does not cause stay as frequent, `e = 0`: the
/// ceiling returns to where it was, and twice those odds are tolerated until they have fallen. The
/// trial ends when `e` is seen to be below or above a half. A ceiling of one request cannot fall, so
/// that what is refused there is tolerated. Where nothing is answered, the ceiling falls to one.
///
/// Once there are no more refusals than tolerated, the ceiling doubles, a window at a time, until just
/// below the number in flight that was too many. From there it rises by one place a window, but only
/// when twenty attempts have passed for each refusal that the last rise has cost. Only answers and
/// refusals count: an attempt that failed or was cancelled does not show that the server has room.
///
/// A stream on which nothing happens, a long poll and a request that waits for its time-out are no work: their
/// places count apart after a while, as at a server.
///
/// Source: that of [`Adaptive`](crate::Adaptive) for the experiments; Jacobson, *Congestion Avoidance
/// and Control* (1988), for the way back, and RFC 7661 for the limit that was not reached.
///
/// Until the first experiment has found a knee, demand that rises is one that costs nothing: where latency grows in
/// proportion to the number in flight, the limit goes to the knee at once; where it does not grow, the limit is
/// multiplied.
///
/// Each of several clients sees its own share alone; only what the server refuses bounds them together.
///
/// ```
/// use backpressure_core::{Limit, Metering, ClientLimit};
///
/// let limit = ClientLimit::new();
/// assert_eq!((limit.limit(), limit.metering()), (100, Metering::Latency));
/// ```
#[derive(Debug)]
pub struct ClientLimit {
    experiment: Experiment,
    /// Latency by the number in flight.
    profile: LatencyProfile,
    /// Attempts that were admitted before are not compared with later ones: the limit has jumped.
    jumped: Timestamp,
    /// The highest limit that the server's refusals allow.
    ceiling: f64,
    /// The ceiling doubles while it is below this.
    threshold: f64,
    /// The highest number in flight of late that had no more refusals than tolerated.
    proven: f64,
    /// Refusals for each answer that load does not cause: of late, and as seen in the last trial.
    background: f64,
    most_background: f64,
    /// Refusals that are not yet made up for by attempts that went well.
    owed: f64,
    /// Whether a lower ceiling makes refusals fewer; `None` while they are few.
    trial: Option<Trial>,
    /// Whether the last window had no more refusals than tolerated.
    rising: bool,
    /// Attempts that were admitted under the present ceiling.
    window: Window,
    /// When the ceiling last moved.
    moved: Timestamp,
    /// Latency of the slower answers of late.
    latency: Duration,
    decision: Option<LimitChange>,
}

/// The limit before anything is known, in requests. RFC 9113, section 6.5.2, recommends to allow a peer no
/// fewer streams, "so as to not unnecessarily limit parallelism".
const INITIAL: f64 = 100.0;
/// Share of attempts that may be refused without consequence: a lower limit could turn no more
/// than this into answers. Google's client-side throttling allows as much (*Site Reliability
/// Engineering*, chapter 21, with K = 1.1). Half of it may be refused for the sake of a higher limit.
const TOLERATED_SHARE: f64 = 0.1;
/// Attempts in a window, at least and at most. Fewer than 12 without a refusal would not show that
/// less than a tenth is refused; 400 show a share of 0.13 beyond doubt.
const WINDOW: (f64, f64) = (12.0, 400.0);
/// What a trial leaves of the limit. With more, it takes four times as many attempts to tell;
/// with less, a place too many that was tried costs more than a twentieth of capacity.
const BACKOFF: f64 = 0.5;
/// What a window leaves of the past, and the share of a number in flight that is just below it.
const DECAY: f64 = 0.9;
/// Standard deviations by which a count of refusals differs from chance. Half as many will do for what
/// costs little if it is wrong.
const SIGNIFICANT: f64 = 2.0;
/// Refusals for each answer from which on a trial goes twice as deep. At 1.5 it then takes a quarter of the attempts to
/// tell; at a ninth, as long, and what waits meanwhile is twice as much.
const DEEPER_FROM_ODDS: f64 = 0.5;
/// What a flat latency multiplies the limit by: half of the factor over which it was seen to be flat.
const FLAT_FACTOR: f64 = 4.0;

impl ClientLimit {
    /// A limit that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            experiment: Experiment::guarding(INITIAL),
            profile: LatencyProfile::default(),
            jumped: Timestamp::ZERO,
            ceiling: f64::INFINITY,
            threshold: f64::INFINITY,
            proven: 0.0,
            background: 0.0,
            most_background: 0.0,
            owed: 0.0,
            trial: None,
            rising: true,
            window: Window::default(),
            moved: Timestamp::ZERO,
            latency: Duration::ZERO,
            decision: None,
        }
    }

    fn exact(&self) -> f64 {
        self.experiment.limit().min(self.ceiling).clamp(1.0, MAX as f64)
    }

    /// Share of attempts that may be refused: of those that load does not cause, twice the odds.
    fn tolerated(&self) -> f64 {
        let odds = 2.0 * self.background;
        (odds / (1.0 + odds)).max(TOLERATED_SHARE)
    }

    /// Decides when two turnovers of the limit have ended, later if there is doubt.
    fn look(&mut self, now: Timestamp) {
        let count = self.window.count();
        let excess = self.window.excess(self.tolerated());
        let doubt = self.trial.is_none() && (-SIGNIFICANT / 2.0..SIGNIFICANT).contains(&excess);
        let enough = if doubt { WINDOW.1 } else { 2.0 * self.exact() };
        if count < enough.clamp(WINDOW.0, WINDOW.1) {
            return;
        }
        let from = self.limit();
        let window = std::mem::take(&mut self.window);
        if let Some(trial) = self.trial {
            self.go_on(trial, &window, now);
        } else if excess < SIGNIFICANT {
            self.owed = (self.owed - TOLERATED_SHARE / 2.0 * count).max(0.0);
            self.raise(&window, now);
        } else {
            self.owed = (self.owed + window.refused).min(TOLERATED_SHARE / 2.0 * WINDOW.1);
            self.start_trial(window, now);
        }
        self.explain(from, Cause::Pushback { rejected: window.refused / count }, now);
    }

    /// Too many refusals. Under a ceiling of one there can be no fewer.
    fn start_trial(&mut self, high: Window, now: Timestamp) {
        let reached = self.exact().min(high.most);
        if self.ceiling <= 1.0 {
            if high.answered > 0.0 {
                self.tolerate(&high);
            }
            return;
        }
        if self.rising {
            self.threshold = (BACKOFF * reached).max(DECAY * self.proven);
        }
        self.rising = false;
        let (ceiling, lower, low) = (self.ceiling, BACKOFF * reached, Window::default());
        self.trial = Some(Trial { ceiling, reached, lower, is_low: true, high, low });
        self.move_to(lower, now);
    }

    /// A window of a trial has ended.
    fn go_on(&mut self, mut trial: Trial, window: &Window, now: Timestamp) {
        trial.add(window);
        self.trial = None;
        let unexplained = trial.unexplained();
        let unanswered = trial.high.answered + trial.low.answered == 0.0;
        if unanswered || unexplained < -SIGNIFICANT {
            // The ceiling stays low. Where nothing is answered, that loses nothing.
            if trial.high.answered > 0.0 {
                self.threshold = DECAY * trial.reached;
            }
            return self.move_to(trial.lower, now);
        }
        let too_many = trial.high.excess(self.tolerated()) > 0.0;
        if unexplained > SIGNIFICANT / 2.0 || !too_many {
            // Where nothing is answered, the next trial tells an outage from a small share of answers.
            if too_many && trial.low.answered > 0.0 {
                self.tolerate(&trial.high.and(&trial.low));
            }
            self.owed = 0.0;
            self.threshold = self.threshold.max(trial.ceiling);
            return self.move_to(trial.ceiling, now);
        }
        trial.is_low = !trial.is_low;
        if trial.is_low && trial.high.odds() > DEEPER_FROM_ODDS {
            trial.lower = (BACKOFF * trial.lower).max(BACKOFF * BACKOFF * trial.reached);
        }
        self.trial = Some(trial);
        self.move_to(if trial.is_low { trial.lower } else { trial.ceiling }, now);
    }

    /// Load does not cause these refusals.
    fn tolerate(&mut self, seen: &Window) {
        (self.background, self.most_background) = (seen.odds(), seen.odds());
    }

    /// No more refusals than tolerated.
    fn raise(&mut self, window: &Window, now: Timestamp) {
        self.rising = true;
        self.proven = window.most.max(DECAY * self.proven);
        let background = DECAY * self.background + (1.0 - DECAY) * window.odds();
        self.background = background.min(self.most_background);
        if self.ceiling < self.threshold {
            self.move_to((2.0 * self.ceiling).min(self.threshold), now);
        } else if self.owed == 0.0 {
            self.ceiling += 1.0;
        }
    }

    fn move_to(&mut self, ceiling: f64, now: Timestamp) {
        (self.ceiling, self.moved) = (ceiling.max(1.0), now);
    }

    /// Learns from an answer.
    fn learn(&mut self, sample: &Sample, now: Timestamp) -> Option<Cause> {
        if now - sample.latency < self.jumped {
            return None;
        }
        let cause = self.experiment.observe(sample, now);
        if self.experiment.is_known() {
            return cause;
        }
        let limit = self.experiment.limit();
        if let Some(queue) = self.profile.lasting_queue(sample, limit, now) {
            (self.profile, self.jumped) = (LatencyProfile::default(), now);
            // What was refused above says nothing about this limit.
            (self.window, self.moved) = (Window::default(), now);
            let in_flight = sample.in_flight_at_end as f64;
            self.experiment = Experiment::guarding_knee(&queue, in_flight);
            return Some(queue.seen.into());
        }
        if ran_at(sample, limit) {
            if let Some(seen) = self.profile.flat(sample) {
                self.experiment.start_at(FLAT_FACTOR * limit);
                return Some(seen.into());
            }
        }
        cause
    }

    fn explain(&mut self, from: usize, cause: Cause, now: Timestamp) {
        let to = self.limit();
        if from != to {
            self.decision = Some(LimitChange { at: now, from, to, cause });
        }
    }
}

impl Default for ClientLimit {
    fn default() -> Self {
        Self::new()
    }
}

impl Limit for ClientLimit {
    /// A watch that is idle, or a long poll, is no work for the server.
    fn counts_waiting(&self) -> bool {
        false
    }

    fn limit(&self) -> usize {
        rounded(self.exact())
    }

    fn observe(&mut self, sample: &Sample, now: Timestamp) {
        // Once an experiment has found a knee, the profile decides nothing any more.
        if !self.experiment.is_known() {
            self.profile.add(sample, now);
        }
        if !sample.outcome.tells_latency() {
            return;
        }
        if sample.outcome == Outcome::Success {
            if self.latency.is_zero() {
                (self.window, self.moved) = (Window::default(), now);
            }
            self.latency = sample.latency.max(self.latency.mul_f64(DECAY));
            let from = self.limit();
            if let Some(cause) = self.learn(sample, now) {
                self.explain(from, cause, now);
            }
        }
        // Refusals are faster than answers: neither counts before both can have come.
        if now - sample.latency.max(self.latency) >= self.moved {
            self.window.add(sample);
            self.look(now);
        }
    }

    fn last_change(&self) -> Option<LimitChange> {
        self.decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers that come one after the other.
    struct Line {
        limit: ClientLimit,
        now: Timestamp,
    }

    impl Line {
        fn new() -> Self {
            Self { limit: ClientLimit::new(), now: Timestamp::ZERO }
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
        assert!(line.limit.last_change().is_none());
    }

    #[test]
    fn refusals_lower_a_limit_that_is_not_reached() {
        let mut line = Line::new();
        // Until the first answers have come, and a whole window after them.
        line.end(240, Outcome::Success, 40);
        line.end(160, Outcome::Success, 40);
        assert_eq!(line.end(40, Outcome::Overload, 40), 20);
        let cause = line.limit.last_change().expect("it moved").cause;
        assert!(
            matches!(cause, Cause::Pushback { rejected } if rejected > TOLERATED_SHARE),
            "{cause:?}"
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
        line.end(1_000, Outcome::Success, 100);
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
        // A server with room for 8 requests of 20 ms, always asked by as many as the limit allows. Each
        // place above 8 is refused every millisecond.
        let mut refusals_due = 0.0;
        while line.now < Timestamp::ZERO + Duration::from_secs(60) {
            let limit = line.limit.limit();
            refusals_due += limit.saturating_sub(8) as f64 * 20.0 / (limit as f64 * 20.0 - 152.0);
            let outcome = if refusals_due >= 1.0 { Outcome::Overload } else { Outcome::Success };
            refusals_due -= f64::from(u8::from(outcome == Outcome::Overload));
            line.end(1, outcome, limit);
            if line.now > Timestamp::ZERO + Duration::from_secs(5) {
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

    /// So many attempts with 40 in flight at most, of which one in `every` is refused; the lowest limit,
    /// and the last.
    fn with_refusals(line: &mut Line, attempts: u32, every: u32) -> (usize, usize) {
        let mut lowest = usize::MAX;
        for round in 0..attempts {
            let in_flight = line.limit.limit().min(40);
            let outcome = if round % every == 0 { Outcome::Overload } else { Outcome::Success };
            lowest = lowest.min(line.end(1, outcome, in_flight));
        }
        (lowest, line.limit.limit())
    }

    #[test]
    fn refusals_that_load_does_not_cause_lower_the_limit_once_and_briefly() {
        for every in [2, 3, 5, 8, 10, 16] {
            let mut line = Line::new();
            with_refusals(&mut line, 2_000, every);
            let (lowest, last) = with_refusals(&mut line, 100_000, every);
            assert!(lowest >= 80, "one in {every}: {lowest}, then {last}");
        }
    }

    #[test]
    fn after_refusals_that_load_did_not_cause_those_that_it_causes_are_noticed_again() {
        let mut line = Line::new();
        with_refusals(&mut line, 10_000, 2);
        with_refusals(&mut line, 10_000, 100);
        let (lowest, _) = with_refusals(&mut line, 400, 3);
        assert!(lowest < 40, "{lowest}");
    }

    #[test]
    fn time_outs_alone_do_not_raise_a_limit() {
        for outcome in [Outcome::Cancelled, Outcome::Failure, Outcome::Ignore] {
            let mut line = Line::new();
            assert_eq!(line.end(10_000, Outcome::Overload, 100), 1);
            assert_eq!(line.end(100_000, outcome, 1), 1, "{outcome:?}");
        }
    }
}
