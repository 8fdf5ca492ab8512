//! Latency now against latency in the long run, as Netflix published it.

use crate::limit::bounded::Bounded;
use crate::limit::{Limit, MAX};
use crate::sample::Sample;
use crate::time::Timestamp;

/// Scales the limit by how much faster the long run was, and adds room for a few waiting.
///
/// The `Gradient2Limit` of Netflix/concurrency-limits, with its defaults:
///
/// | option | default | |
/// |---|---|---|
/// | [`initial`](Self::initial) | 20 | limit before the first sample |
/// | [`min`](Self::min), [`max`](Self::max) | 20, 200 | the limit stays between them |
/// | [`queue`](Self::queue) | 4 | attempts in flight added at each step |
/// | [`tolerance`](Self::tolerance) | 1.5 | how much slower than the long run is no queue yet |
/// | [`smoothing`](Self::smoothing) | 0.2 | share of each step that is taken |
/// | [`long_window`](Self::long_window) | 600 | samples of the long run |
///
/// It was published to be fed once a second: wrap it in [`Windowed`](crate::Windowed).
///
/// ```
/// use backpressure_core::{Gradient2, Limit, Outcome, Sample, Timestamp, Windowed};
/// use std::time::Duration;
///
/// let mut windowed = Windowed::new(Gradient2::new());
/// let sample = Sample {
///     in_flight: 20,
///     ..Sample::new(Duration::from_millis(10), Outcome::Success)
/// };
/// for tenth in 0..=60 {
///     windowed.observe(&sample, Timestamp::from_nanos(tenth * 100_000_000));
/// }
/// assert_eq!(windowed.limit(), 24); // five windows closed, 0.2 · 4 more after each
/// ```
///
/// It changes only when at least half of the limit was in flight. A sample that stands for k
/// attempts is one update, so the long run is k times longer. [`Outcome::Ignore`](crate::Outcome::Ignore) teaches nothing.
/// It differs from the original in one thing: a latency of zero counts as 1 ns.
///
/// # Where it fails
/// [`Outcome::Overload`](crate::Outcome::Overload) is a latency like any other, as in the original: fast failures raise the
/// limit. The long run learns the overload, too: at 1.2× the capacity for half an hour the limit
/// drifts up until 0.66 of the best possible goodput is left, and behind a dependency ten times
/// slower it is 0.014 (simulated for this project, one-second windows). Fed per sample, with a
/// service that always takes as long, it ends at `max`. `docs/algorithms/gradient2.md` has the
/// mathematics.
#[derive(Clone, Debug)]
pub struct Gradient2 {
    /// The limit, in attempts in flight, with the fraction that smoothing leaves.
    limit: Bounded,
    /// Latency in the long run, in nanoseconds.
    long: LongRun,
    /// Added at each step, before smoothing, in attempts in flight.
    queue: usize,
    /// Latency over the long run's that is no queue yet, at least 1.
    tolerance: f64,
    /// Share of each step that is taken, above 0 and at most 1.
    smoothing: f64,
}

impl Gradient2 {
    /// The published defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            limit: Bounded::new(INITIAL, MIN_LIMIT, MAX_LIMIT),
            long: LongRun::over(LONG_WINDOW),
            queue: QUEUE,
            tolerance: TOLERANCE,
            smoothing: SMOOTHING,
        }
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

    /// How many may wait: what the limit grows by, before smoothing, while latency is good.
    ///
    /// # Panics
    /// When `queue` is above 1 000 000.
    #[must_use]
    pub fn queue(mut self, queue: usize) -> Self {
        assert!(queue <= MAX, "queue must be in 0..={MAX}");
        self.queue = queue;
        self
    }

    /// How many times the long run's latency is still no reason to lower the limit.
    ///
    /// # Panics
    /// When `tolerance` is below 1 or not finite.
    #[must_use]
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        assert!(
            tolerance >= 1.0 && tolerance.is_finite(),
            "tolerance must be finite and at least 1.0"
        );
        self.tolerance = tolerance;
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

    /// How many samples the long run is.
    ///
    /// # Panics
    /// When `samples` is 0.
    #[must_use]
    pub fn long_window(mut self, samples: u32) -> Self {
        assert!(samples >= 1, "long_window must be in 1..={}", u32::MAX);
        self.long = LongRun::over(samples);
        self
    }

    /// One step of the limit, in attempts in flight; `long` and `short` in nanoseconds.
    fn step(&mut self, long: f64, short: f64) {
        let gradient = (self.tolerance * long / short).clamp(0.5, 1.0);
        let limit = self.limit.value();
        let wanted = limit * gradient + self.queue as f64;
        self.limit.set(limit * (1.0 - self.smoothing) + wanted * self.smoothing);
    }
}

impl Default for Gradient2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Limit for Gradient2 {
    fn limit(&self) -> usize {
        self.limit.whole()
    }

    fn observe(&mut self, sample: &Sample, _now: Timestamp) {
        if !sample.outcome.tells_latency() {
            return;
        }
        let short = sample.latency.as_nanos().max(1) as f64;
        let long = self.long.add(short);
        if long / short > RECOVERED {
            self.long.mean *= FORGET;
        }
        if sample.in_flight as f64 >= self.limit.value() / 2.0 {
            self.step(long, short);
        }
    }
}

/// The plain mean of the first few samples, from then on an exponential one.
#[derive(Clone, Debug)]
struct LongRun {
    /// The mean, in the unit of the samples.
    mean: f64,
    /// Sum of the first samples, in their unit.
    sum: f64,
    /// How many were summed, at most [`WARM_UP`].
    summed: u32,
    /// Weight of a sample after those, above 0 and at most 1.
    weight: f64,
}

impl LongRun {
    const fn over(samples: u32) -> Self {
        Self { mean: 0.0, sum: 0.0, summed: 0, weight: 2.0 / (samples as f64 + 1.0) }
    }

    fn add(&mut self, sample: f64) -> f64 {
        if self.summed < WARM_UP {
            self.summed += 1;
            self.sum += sample;
            self.mean = self.sum / f64::from(self.summed);
        } else {
            self.mean = self.mean * (1.0 - self.weight) + sample * self.weight;
        }
        self.mean
    }
}

// The defaults of Gradient2Limit.Builder, Netflix/concurrency-limits.
const INITIAL: usize = 20;
const MIN_LIMIT: usize = 20;
const MAX_LIMIT: usize = 200;
const QUEUE: usize = 4;
const TOLERANCE: f64 = 1.5;
const SMOOTHING: f64 = 0.2;
const LONG_WINDOW: u32 = 600;
/// Samples of plain mean before the exponential one, from the same file.
const WARM_UP: u32 = 10;
/// Long over short latency above which an overload has passed, from the same file.
const RECOVERED: f64 = 2.0;
/// What is then left of the long run's latency at each sample, from the same file.
const FORGET: f64 = 0.95;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::Outcome;

    fn observe(limit: &mut Gradient2, millis: u64, in_flight: usize, outcome: Outcome) -> usize {
        let sample = Sample { in_flight, ..Sample::new(Duration::from_millis(millis), outcome) };
        limit.observe(&sample, Timestamp::ZERO);
        limit.limit()
    }

    /// At 100 of 1..=200, with the warm-up over: a long run of `millis`.
    fn warm(millis: u64) -> Gradient2 {
        let mut limit = Gradient2::new().min(1).initial(100);
        for _ in 0..WARM_UP {
            assert_eq!(observe(&mut limit, millis, 0, Outcome::Success), 100);
        }
        limit
    }

    #[track_caller]
    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-4, "{value} for {expected}");
    }

    /// The original has no Gradient2LimitTest.java. These are the figures of its long run:
    /// Netflix/concurrency-limits, ExpAvgMeasurementTest.java, testWarmup.
    #[test]
    fn netflix_own_figures_for_the_long_run_are_reproduced() {
        let mut long = LongRun::over(100);
        let means: Vec<_> = (10..20).map(|sample| long.add(f64::from(sample))).collect();
        let expected = [10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0, 13.5, 14.0, 14.5];
        assert_eq!(means, expected);
        // 14.5 · 99/101 + 100 · 2/101.
        assert_near(long.add(100.0), 16.1931);
    }

    #[test]
    fn a_steady_latency_raises_it_by_a_fifth_of_the_queue() {
        let mut limit = Gradient2::new();
        let steps: Vec<_> = (0..5).map(|_| observe(&mut limit, 10, 20, Outcome::Success)).collect();
        assert_eq!(steps, [20, 21, 22, 23, 24]);
        assert_near(limit.limit.value(), 24.0);
    }

    #[test]
    fn a_slower_sample_lowers_it_by_the_gradient_and_by_half_at_most() {
        let mut limit = warm(10);
        // long = 10 + 20 · 2/601 = 10.06656, g = 1.5 · long/30 = .503328:
        // .8 · 100 + .2 · (100 · g + 4) = 90.86656.
        assert_eq!(observe(&mut limit, 30, 100, Outcome::Success), 90);
        assert_near(limit.limit.value(), 90.86656);
        // g is clamped to .5: .8 · 90.86656 + .2 · (45.43328 + 4) = 82.57990.
        observe(&mut limit, 300, 100, Outcome::Success);
        assert_near(limit.limit.value(), 82.57990);
    }

    #[test]
    fn half_as_slow_again_is_tolerated() {
        let mut limit = warm(10);
        // g = 1.5 · 10.01664/15 > 1, clamped: .8 · 100 + .2 · 104.
        observe(&mut limit, 15, 100, Outcome::Success);
        assert_near(limit.limit.value(), 100.8);
    }

    #[test]
    fn the_long_run_is_forgotten_faster_once_latency_is_back() {
        let mut limit = warm(100);
        observe(&mut limit, 10, 0, Outcome::Success);
        // (100 − 90 · 2/601) · .95 ms.
        assert_near(limit.long.mean / 1e6, 94.71547);
    }

    #[test]
    fn less_than_half_in_flight_changes_nothing_but_the_long_run() {
        let mut limit = warm(10);
        assert_eq!(observe(&mut limit, 300, 49, Outcome::Success), 100);
        assert!(limit.long.mean > 1e7);
        assert_eq!(observe(&mut limit, 300, 50, Outcome::Success), 90);
    }

    #[test]
    fn an_overload_is_a_latency_like_any_other() {
        let (mut shed, mut served) = (warm(10), warm(10));
        for millis in [1, 10, 30, 300] {
            let after = observe(&mut shed, millis, 100, Outcome::Overload);
            assert_eq!(after, observe(&mut served, millis, 100, Outcome::Success));
        }
    }

    #[test]
    fn an_ignored_attempt_teaches_nothing() {
        let mut limit = warm(10);
        assert_eq!(observe(&mut limit, 300, 100, Outcome::Ignore), 100);
        assert_near(limit.long.mean / 1e6, 10.0);
    }

    #[test]
    fn per_sample_a_latency_that_never_changes_ends_at_the_maximum() {
        let mut limit = Gradient2::new();
        for _ in 0..1_000 {
            observe(&mut limit, 10, 200, Outcome::Success);
        }
        assert_eq!(limit.limit(), 200);
    }

    #[test]
    #[should_panic(expected = "initial must be in 20..=200")]
    fn a_start_outside_the_bounds_is_refused_with_the_range() {
        let _ = Gradient2::new().initial(10);
    }

    #[test]
    #[should_panic(expected = "tolerance must be finite and at least 1.0")]
    fn a_tolerance_that_is_no_number_is_refused() {
        let _ = Gradient2::new().tolerance(f64::NAN);
    }
}
