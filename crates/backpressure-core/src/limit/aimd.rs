//! Additive increase, multiplicative decrease, as Netflix published it.

use std::time::Duration;

use crate::limit::Limit;
use crate::limit::bounded::Bounded;
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::time::Timestamp;

/// Raises the limit by one after a success, and lowers it by a tenth after an overload or a time-out.
///
/// The `AIMDLimit` of Netflix/concurrency-limits, with its defaults:
///
/// | option | default | |
/// |---|---|---|
/// | [`initial`](Self::initial) | 20 | limit before the first sample |
/// | [`min`](Self::min), [`max`](Self::max) | 20, 200 | the limit stays between them |
/// | [`backoff`](Self::backoff) | 0.9 | factor after an overload |
/// | [`timeout`](Self::timeout) | 5 s | a latency above it is an overload |
///
/// ```
/// use backpressure_core::{Aimd, Limit, Outcome, Sample, Timestamp};
/// use std::time::Duration;
///
/// let mut limit = Aimd::new().min(1).initial(10);
/// limit.observe(&Sample::new(Duration::from_millis(8), Outcome::Overload), Timestamp::ZERO);
/// assert_eq!(limit.limit(), 9);
/// ```
///
/// A success raises the limit only when at least half of it was in flight. A sample that stands for k
/// attempts is one update. [`Outcome::Ignore`] changes nothing.
///
/// # Where it fails
/// It notices a queue only once latency passes `timeout`. It adds one for each response and not for each
/// round trip, so that a busy service doubles its limit each round trip. At 2× and at 10× its capacity it yields
/// 0.75 of the best possible goodput at 21 times the uncontended p99 (simulated for this project).
/// `docs/algorithms/aimd.md` has the mathematics.
#[derive(Clone, Debug)]
pub struct Aimd {
    /// The limit, in attempts in flight.
    limit: Bounded,
    /// What is left of the limit after an overload, as a share of it.
    backoff: f64,
    /// The longest latency that is no overload.
    timeout: Duration,
}

impl Aimd {
    /// The published defaults.
    #[must_use]
    pub const fn new() -> Self {
        let limit = Bounded::new(INITIAL, MIN_LIMIT, MAX_LIMIT);
        Self { limit, backoff: BACKOFF, timeout: TIMEOUT }
    }

    /// Where the limit starts. Set it last: [`min`](Self::min) and [`max`](Self::max) bound it.
    ///
    /// # Panics
    /// When `initial` is not in `min..=max`.
    #[must_use]
    pub fn initial(mut self, initial: usize) -> Self {
        self.limit.start_at(initial);
        self
    }

    /// The lowest limit; a start below it moves up to it.
    ///
    /// # Panics
    /// When `min` is not in `1..=max`.
    #[must_use]
    pub fn min(mut self, min: usize) -> Self {
        self.limit.at_least(min);
        self
    }

    /// The highest limit; a start above it moves down to it.
    ///
    /// # Panics
    /// When `max` is not in `min..=1 000 000`.
    #[must_use]
    pub fn max(mut self, max: usize) -> Self {
        self.limit.at_most(max);
        self
    }

    /// The share of the limit that an overload leaves.
    ///
    /// # Panics
    /// When `backoff` is not in `0.5..1.0`.
    #[must_use]
    pub fn backoff(mut self, backoff: f64) -> Self {
        assert!((0.5..1.0).contains(&backoff), "backoff must be in 0.5..1.0");
        self.backoff = backoff;
        self
    }

    /// A success that took longer counts as an overload.
    ///
    /// # Panics
    /// When `timeout` is zero.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "timeout must be above 0 s");
        self.timeout = timeout;
        self
    }
}

impl Default for Aimd {
    fn default() -> Self {
        Self::new()
    }
}

impl Limit for Aimd {
    fn limit(&self) -> usize {
        self.limit.whole()
    }

    fn observe(&mut self, sample: &Sample, _now: Timestamp) {
        if !sample.outcome.tells_latency() {
            return;
        }
        let limit = self.limit.value();
        if sample.outcome == Outcome::Overload || sample.latency > self.timeout {
            self.limit.set((limit * self.backoff).floor());
        } else if sample.in_flight.saturating_mul(2) >= self.limit() {
            self.limit.set(limit + 1.0);
        }
    }
}

// The defaults of AIMDLimit.Builder, Netflix/concurrency-limits.
const INITIAL: usize = 20;
const MIN_LIMIT: usize = 20;
const MAX_LIMIT: usize = 200;
const BACKOFF: f64 = 0.9;
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::MAX;

    fn step(limit: &mut Aimd, latency: Duration, in_flight: usize, outcome: Outcome) -> usize {
        let sample = Sample { in_flight, ..Sample::new(latency, outcome) };
        limit.observe(&sample, Timestamp::ZERO);
        limit.limit()
    }

    fn success(limit: &mut Aimd, millis: u64, in_flight: usize) -> usize {
        let latency = Duration::from_millis(millis);
        step(limit, latency, in_flight, Outcome::Success)
    }

    fn overload(limit: &mut Aimd) -> usize {
        step(limit, Duration::ZERO, 0, Outcome::Overload)
    }

    /// The figures of Netflix/concurrency-limits, AIMDLimitTest.java: testDefault,
    /// increaseOnSuccess, decreaseOnDrops, successOverflow. Theirs starts below its minimum of 20
    /// and has a minimum of 0; ours has to be asked for a lower one, and 1 is the lowest.
    #[test]
    fn netflix_own_figures_are_reproduced() {
        assert_eq!(Aimd::new().min(1).initial(10).limit(), 10);
        assert_eq!(success(&mut Aimd::new().initial(20), 1, 10), 21);
        assert_eq!(overload(&mut Aimd::new().initial(30)), 27);
        assert_eq!(success(&mut Aimd::new().min(1).max(21).initial(21), 1, 10), 21);
    }

    #[test]
    fn an_overload_leaves_nine_tenths_rounded_down_but_never_less_than_the_minimum() {
        let mut limit = Aimd::new().initial(30);
        let steps: Vec<_> = (0..5).map(|_| overload(&mut limit)).collect();
        assert_eq!(steps, [27, 24, 21, 20, 20]);
    }

    #[test]
    fn a_lower_minimum_is_reached_and_not_passed() {
        let mut limit = Aimd::new().min(1).initial(3);
        let steps: Vec<_> = (0..4).map(|_| overload(&mut limit)).collect();
        assert_eq!(steps, [2, 1, 1, 1]);
    }

    #[test]
    fn less_than_half_in_flight_does_not_raise_it() {
        let mut limit = Aimd::new();
        assert_eq!(success(&mut limit, 1, 9), 20);
        assert_eq!(success(&mut limit, 1, 10), 21);
        assert_eq!(success(&mut limit, 1, 10), 21);
    }

    #[test]
    fn only_a_latency_above_the_timeout_is_an_overload() {
        let mut limit = Aimd::new().initial(30);
        assert_eq!(success(&mut limit, 5_000, 30), 31);
        assert_eq!(success(&mut limit, 5_001, 30), 27);
    }

    #[test]
    fn an_ignored_attempt_teaches_nothing() {
        let mut limit = Aimd::new().initial(30);
        let late = Duration::from_secs(9);
        assert_eq!(step(&mut limit, late, 30, Outcome::Ignore), 30);
    }

    #[test]
    fn a_thousand_fast_failures_do_not_raise_it() {
        let mut limit = Aimd::new().min(1).initial(10);
        let mut before = limit.limit();
        for _ in 0..1_000 {
            let after = step(&mut limit, Duration::from_micros(1), 100, Outcome::Overload);
            assert!(after <= before);
            before = after;
        }
        assert_eq!(before, 1);
    }

    #[test]
    fn bounds_carry_the_start_with_them() {
        assert_eq!(Aimd::new().min(50).limit(), 50);
        assert_eq!(Aimd::new().min(5).max(10).limit(), 10);
    }

    #[test]
    #[should_panic(expected = "initial must be in 20..=200")]
    fn a_start_outside_the_bounds_is_refused_with_the_range() {
        let _ = Aimd::new().initial(10);
    }

    #[test]
    #[should_panic(expected = "min must be in 1..=200")]
    fn a_minimum_of_zero_is_refused() {
        let _ = Aimd::new().min(0);
    }

    #[test]
    #[should_panic(expected = "max must be in 20..=1000000")]
    fn a_maximum_beyond_the_counter_is_refused() {
        let _ = Aimd::new().max(MAX + 1);
    }

    #[test]
    #[should_panic(expected = "backoff must be in 0.5..1.0")]
    fn a_backoff_that_is_no_number_is_refused() {
        let _ = Aimd::new().backoff(f64::NAN);
    }

    /// Extremes and everything between, from a small generator (Knuth's MMIX constants).
    fn arbitrary(state: &mut u64) -> Sample {
        let mut draw = || {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *state >> 33
        };
        let latency = match draw() % 4 {
            0 => Duration::ZERO,
            1 => Duration::MAX,
            _ => Duration::from_nanos(draw().wrapping_mul(draw())),
        };
        let outcome = [Outcome::Overload, Outcome::Ignore, Outcome::Success][draw() as usize % 3];
        let in_flight = [0, usize::MAX, 1, 1_000, draw() as usize % 300][draw() as usize % 5];
        let weight = [0, 1, u32::MAX][draw() as usize % 3];
        Sample { in_flight, weight, ..Sample::new(latency, outcome) }
    }

    #[test]
    fn no_sample_takes_it_out_of_its_bounds() {
        let highest = || Aimd::new().min(1).max(MAX).initial(MAX);
        for (lowest, highest, mut limit) in [(20, 200, Aimd::new()), (1, MAX, highest())] {
            for mut state in 0..20 {
                for _ in 0..5_000 {
                    let sample = arbitrary(&mut state);
                    limit.observe(&sample, Timestamp::ZERO);
                    assert!((lowest..=highest).contains(&limit.limit()), "{sample:?}, {limit:?}");
                }
            }
        }
    }
}
