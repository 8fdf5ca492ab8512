//! The queue, estimated from the smallest latency seen, as Netflix published it.

use crate::limit::Limit;
use crate::limit::bounded::Bounded;
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::time::Timestamp;

/// Keeps the estimated queue, `limit · (1 − no-load latency / latency)`, between two marks.
///
/// The `VegasLimit` of Netflix/concurrency-limits, with its defaults:
///
/// | option | default | |
/// |---|---|---|
/// | [`initial`](Self::initial) | 20 | limit before the first sample |
/// | [`min`](Self::min), [`max`](Self::max) | 1, 1000 | the limit stays between them |
/// | [`smoothing`](Self::smoothing) | 1.0 | share of each step that is taken |
/// | [`probe_multiplier`](Self::probe_multiplier) | 30 | a new no-load latency every 15 to 30 × limit samples |
/// | [`seed`](Self::seed) | 0 | of the probes' jitter |
///
/// ```
/// use backpressure_core::{Limit, Outcome, Sample, Timestamp, Vegas};
/// use std::time::Duration;
///
/// let mut limit = Vegas::new();
/// let sample = Sample {
///     in_flight: 20,
///     ..Sample::new(Duration::from_millis(10), Outcome::Success)
/// };
/// limit.observe(&sample, Timestamp::ZERO); // the first one is the no-load latency
/// limit.observe(&sample, Timestamp::ZERO); // no queue: six more
/// assert_eq!(limit.limit(), 26);
/// ```
///
/// A success changes the limit only when at least half of it was in flight. A sample that stands
/// for k attempts is one update, so steps and probes come k times later. [`Outcome::Ignore`]
/// teaches nothing.
///
/// It behaves differently from the original in three things: an overload always lowers the limit and is never
/// taken for the no-load latency, however fast it failed; the jitter comes from a seed, so that a
/// run can be repeated; a latency of zero counts as 1 ns instead of an error.
///
/// # Where it fails
/// The smallest of many latencies says little about a wide distribution. With exponential service
/// it refuses 38 % at half load and yields 0.37 of the best possible goodput at twice the
/// capacity; behind a dependency ten times slower it yields 0.009 (simulated for this project).
/// `docs/algorithms/vegas.md` has the mathematics.
#[derive(Clone, Debug)]
pub struct Vegas {
    /// The limit, in attempts in flight; a fraction only while smoothed.
    limit: Bounded,
    /// Smallest latency since the last probe, in nanoseconds; infinite before the first success.
    no_load: f64,
    /// Samples since the last probe.
    since_probe: u64,
    /// Share of the longest probe interval to wait this time, in 0.5..1.0.
    jitter: f64,
    /// State of the generator behind `jitter`.
    seed: u64,
    /// Share of each step that is taken, above 0 and at most 1.
    smoothing: f64,
    /// Longest probe interval, in samples per unit of limit.
    probe_multiplier: u32,
}

impl Vegas {
    /// The published defaults.
    #[must_use]
    pub fn new() -> Self {
        let vegas = Self {
            limit: Bounded::new(INITIAL, MIN_LIMIT, MAX_LIMIT),
            no_load: f64::INFINITY,
            since_probe: 0,
            jitter: 1.0,
            seed: 0,
            smoothing: SMOOTHING,
            probe_multiplier: PROBE_MULTIPLIER,
        };
        vegas.seed(0)
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

    /// The lowest limit; a start below it moves up to it. The original has no such option: 1.
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

    /// The share of each step that is taken: 1 follows every sample, less is slower and calmer.
    ///
    /// # Panics
    /// When `smoothing` is not above 0 and at most 1.
    #[must_use]
    pub fn smoothing(mut self, smoothing: f64) -> Self {
        assert!(smoothing > 0.0 && smoothing <= 1.0, "smoothing must be above 0.0 and at most 1.0");
        self.smoothing = smoothing;
        self
    }

    /// How rarely the no-load latency is measured anew: after `multiplier · limit` samples at most.
    ///
    /// # Panics
    /// When `multiplier` is 0.
    #[must_use]
    pub fn probe_multiplier(mut self, multiplier: u32) -> Self {
        assert!(multiplier >= 1, "probe_multiplier must be in 1..={}", u32::MAX);
        self.probe_multiplier = multiplier;
        self
    }

    /// Seeds the probes' jitter. Give each replica its own, or they all probe at the same count.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self.draw_jitter();
        self
    }

    /// A success: a probe, a new no-load latency, or a step.
    fn learn(&mut self, latency: f64, in_flight: usize) {
        if self.probe_is_due() {
            self.since_probe = 0;
            self.draw_jitter();
            self.no_load = latency;
        } else if latency < self.no_load {
            self.no_load = latency;
        } else if in_flight as f64 * 2.0 >= self.limit.value() {
            self.change(self.wanted(latency));
        }
    }

    fn probe_is_due(&self) -> bool {
        let interval = self.jitter * f64::from(self.probe_multiplier) * self.limit.value();
        interval <= self.since_probe as f64
    }

    /// By how much to change the limit, in attempts in flight.
    fn wanted(&self, latency: f64) -> f64 {
        let queue = (self.limit.value() * (1.0 - self.no_load / latency)).ceil();
        let unit = self.unit();
        if queue <= unit {
            BETA * unit
        } else if queue < ALPHA * unit {
            unit
        } else if queue > BETA * unit {
            -unit
        } else {
            0.0
        }
    }

    fn change(&mut self, by: f64) {
        let limit = self.limit.value();
        let next = self.limit.clamp(limit + by);
        self.limit.set(limit + self.smoothing * (next - limit));
    }

    /// Digits of the limit less one, and at least 1: the step, and the unit of the marks.
    fn unit(&self) -> f64 {
        let digits = self.limit().ilog10();
        f64::from(digits.max(1))
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): four lines, any seed will do.
    const fn draw_jitter(&mut self) {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        self.jitter = 0.5 + unit / 2.0;
    }
}

impl Default for Vegas {
    fn default() -> Self {
        Self::new()
    }
}

impl Limit for Vegas {
    fn limit(&self) -> usize {
        self.limit.whole()
    }

    fn observe(&mut self, sample: &Sample, _now: Timestamp) {
        if !sample.outcome.tells_latency() {
            return;
        }
        self.since_probe = self.since_probe.saturating_add(1);
        if sample.outcome == Outcome::Overload {
            self.change(-self.unit());
        } else {
            let latency = sample.latency.as_nanos().max(1) as f64;
            self.learn(latency, sample.in_flight);
        }
    }
}

// The defaults of VegasLimit.Builder, Netflix/concurrency-limits.
const INITIAL: usize = 20;
const MIN_LIMIT: usize = 1;
const MAX_LIMIT: usize = 1_000;
const SMOOTHING: f64 = 1.0;
const PROBE_MULTIPLIER: u32 = 30;
/// A queue below ALPHA units raises the limit.
const ALPHA: f64 = 3.0;
/// A queue above BETA units lowers it; with no queue it rises by as many.
const BETA: f64 = 6.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn step(limit: &mut Vegas, latency: Duration, in_flight: usize, outcome: Outcome) -> usize {
        let sample = Sample { in_flight, ..Sample::new(latency, outcome) };
        limit.observe(&sample, Timestamp::ZERO);
        limit.limit()
    }

    fn success(limit: &mut Vegas, micros: u64, in_flight: usize) -> usize {
        let latency = Duration::from_micros(micros);
        step(limit, latency, in_flight, Outcome::Success)
    }

    /// Starts at `initial` with a no-load latency of 10 ms.
    fn measured(initial: usize) -> Vegas {
        let mut limit = Vegas::new().initial(initial);
        assert_eq!(success(&mut limit, 10_000, initial), initial);
        limit
    }

    /// Latency (ms) and in flight of the second sample, and the limit after it, from
    /// Netflix/concurrency-limits, VegasLimitTest.java: increaseLimit, decreaseLimit,
    /// noChangeIfWithinThresholds. Their α = 3 and β = 6 are ours at a limit of 10.
    #[test]
    fn netflix_own_figures_are_reproduced() {
        for (millis, in_flight, after) in [(10, 11, 16), (50, 11, 9), (14, 14, 10)] {
            let mut limit = Vegas::new().max(20).initial(10);
            assert_eq!(success(&mut limit, 10_000, 10), 10);
            assert_eq!(success(&mut limit, millis * 1_000, in_flight), after);
        }
    }

    /// largeLimitIncrease of the same file.
    #[test]
    fn a_limit_of_ten_thousand_grows_by_twenty_four() {
        let mut limit = Vegas::new().max(20_000).initial(10_000);
        assert_eq!(success(&mut limit, 10_000_000, 5_000), 10_000);
        assert_eq!(success(&mut limit, 10_000_000, 6_000), 10_024);
    }

    #[test]
    fn each_arm_takes_its_step() {
        let mut limit = measured(20);
        // q = 0 ≤ 1: + 6.
        assert_eq!(success(&mut limit, 10_000, 20), 26);
        // q = ⌈26 · (1 − 10/11)⌉ = ⌈2.36⌉ = 3, neither < 3 nor > 6: held.
        assert_eq!(success(&mut limit, 11_000, 26), 26);
        // q = ⌈26 · (1 − 10/10.6)⌉ = ⌈1.47⌉ = 2 < 3: + 1.
        assert_eq!(success(&mut limit, 10_600, 26), 27);
        // q = ⌈27 · (1 − 10/20)⌉ = ⌈13.5⌉ = 14 > 6: − 1.
        assert_eq!(success(&mut limit, 20_000, 27), 26);
        assert_eq!(step(&mut limit, Duration::ZERO, 0, Outcome::Overload), 25);
        // 2 · 12 < 25: held.
        assert_eq!(success(&mut limit, 20_000, 12), 25);
    }

    #[test]
    fn the_step_is_a_digit_larger_from_one_hundred() {
        let mut limit = measured(100);
        assert_eq!(success(&mut limit, 20_000, 100), 98);
        assert_eq!(success(&mut limit, 20_000, 100), 97);
    }

    #[test]
    fn smoothing_takes_part_of_the_step() {
        let mut limit = measured(100).smoothing(0.5);
        // Half of − 2, then half of − 1: 99, 98.5.
        assert_eq!(success(&mut limit, 20_000, 100), 99);
        assert_eq!(success(&mut limit, 20_000, 100), 98);
    }

    #[test]
    fn a_probe_comes_after_fifteen_to_thirty_times_the_limit() {
        let mut limit = measured(20);
        let gaps = probe_gaps(&mut limit, 50);
        assert!(gaps.iter().all(|gap| (300..=600).contains(gap)), "{gaps:?}");
        assert!(gaps.iter().any(|&gap| gap < 400) && gaps.iter().any(|&gap| gap > 500));
    }

    #[test]
    fn a_probe_takes_one_latency_for_the_no_load_latency_even_under_load() {
        let mut limit = measured(20);
        limit.since_probe = 600;
        assert_eq!(success(&mut limit, 80_000, 20), 20);
        assert_eq!(limit.no_load, 8e7);
        // What was a queue of 15 is now none.
        assert_eq!(success(&mut limit, 80_000, 20), 26);
    }

    #[test]
    fn a_probe_that_is_due_waits_for_a_success() {
        let mut limit = measured(20);
        limit.since_probe = 600;
        step(&mut limit, Duration::from_micros(1), 20, Outcome::Overload);
        assert_eq!(limit.no_load, 1e7);
        success(&mut limit, 80_000, 20);
        assert_eq!(limit.no_load, 8e7);
    }

    #[test]
    fn a_seed_repeats_its_probes_and_another_has_others() {
        let of = |seed| probe_gaps(&mut Vegas::new().seed(seed), 5);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    /// Samples between one probe and the next. Each latency is longer than the last, so that only
    /// a probe can move the no-load latency; less than half is in flight, so that the limit, and
    /// with it the interval, stays put.
    fn probe_gaps(limit: &mut Vegas, probes: usize) -> Vec<usize> {
        let mut micros = 10_000;
        success(limit, micros, 1);
        limit.since_probe = 0;
        let mut gap = || {
            let before = limit.no_load;
            let mut samples = 0;
            while limit.no_load == before {
                micros += 1;
                samples += 1;
                success(limit, micros, 1);
            }
            samples
        };
        (0..probes).map(|_| gap()).collect()
    }

    #[test]
    fn a_thousand_fast_failures_neither_raise_it_nor_become_the_no_load_latency() {
        let mut limit = measured(20);
        let mut before = limit.limit();
        for _ in 0..1_000 {
            let after = step(&mut limit, Duration::from_micros(1), 100, Outcome::Overload);
            assert!(after <= before);
            before = after;
        }
        assert_eq!(before, 1);
        assert_eq!(limit.no_load, 1e7);
    }

    #[test]
    fn an_ignored_attempt_teaches_nothing() {
        let mut limit = measured(20);
        step(&mut limit, Duration::from_micros(1), 20, Outcome::Ignore);
        assert_eq!((limit.limit(), limit.no_load), (20, 1e7));
    }

    #[test]
    #[should_panic(expected = "initial must be in 1..=1000")]
    fn a_start_above_the_maximum_is_refused_with_the_range() {
        let _ = Vegas::new().initial(1_001);
    }

    #[test]
    #[should_panic(expected = "smoothing must be above 0.0 and at most 1.0")]
    fn a_smoothing_that_is_no_number_is_refused() {
        let _ = Vegas::new().smoothing(f64::NAN);
    }
}
