//! One averaged sample a window, as Netflix published it: a decorator for any limit.

use std::time::Duration;

use crate::limit::{Limit, Metering};
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::time::Timestamp;

/// Shows another limit one average a second instead of every sample.
///
/// The `WindowedLimit` of Netflix/concurrency-limits with its average window, with its defaults:
/// windows of 1 s, at least 10 samples each, latencies below 100 µs dropped. The limit inside is
/// told the mean latency, the highest in-flight, and an overload if there was any in the window.
///
/// ```
/// use backpressure_core::{Aimd, Limit, Outcome, Sample, Timestamp, Windowed};
/// use std::time::Duration;
///
/// let mut limit = Windowed::new(Aimd::new().initial(100));
/// let overload = Sample::new(Duration::from_millis(8), Outcome::Overload);
/// for hundredth in 0..=101 {
///     limit.observe(&overload, Timestamp::from_nanos(hundredth * 10_000_000));
/// }
/// assert_eq!(limit.limit(), 90); // one step, not one hundred
/// ```
///
/// A sample that stands for k attempts is one of the window's samples; the weights are summed in
/// what the limit inside is told. [`Outcome::Ignore`] is dropped.
///
/// It differs from the original in two things: the first sample opens a window instead of being
/// thrown away as a window of its own, and a window has one length (the original can stretch it to
/// twice the smallest latency, by default it does not).
///
/// # Where it fails
/// A window with too few samples is thrown away whole: below about 10 requests a second the limit
/// never moves. A failure faster than 100 µs is not seen.
#[derive(Clone, Debug)]
pub struct Windowed<L> {
    /// What learns from the windows.
    inner: L,
    /// The window being filled.
    open: Window,
    /// The first sample after this moment ends the window; none before the first sample.
    ends: Option<Timestamp>,
    /// Length of a window.
    window: Duration,
    /// Fewest samples in a window that counts.
    min_samples: u32,
    /// Smallest latency that counts.
    min_latency: Duration,
}

impl<L: Limit> Windowed<L> {
    /// The published defaults around `limit`.
    #[must_use]
    pub const fn new(limit: L) -> Self {
        Self {
            inner: limit,
            open: Window::EMPTY,
            ends: None,
            window: WINDOW,
            min_samples: MIN_SAMPLES,
            min_latency: MIN_LATENCY,
        }
    }

    /// How long a window is.
    ///
    /// # Panics
    /// When `window` is below 100 ms.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        assert!(window >= Duration::from_millis(100), "window must be at least 100 ms");
        self.window = window;
        self
    }

    /// How many samples make a window count.
    ///
    /// # Panics
    /// When `min_samples` is below 10.
    #[must_use]
    pub fn min_samples(mut self, min_samples: u32) -> Self {
        assert!(min_samples >= 10, "min_samples must be in 10..={}", u32::MAX);
        self.min_samples = min_samples;
        self
    }

    /// Latencies below it are dropped: health checks, answers from a cache.
    #[must_use]
    pub const fn min_latency(mut self, min_latency: Duration) -> Self {
        self.min_latency = min_latency;
        self
    }
}

impl<L: Limit> Limit for Windowed<L> {
    fn limit(&self) -> usize {
        self.inner.limit()
    }

    fn observe(&mut self, sample: &Sample, now: Timestamp) {
        if !sample.outcome.tells_latency() || sample.latency < self.min_latency {
            return;
        }
        self.open.add(sample);
        if now > *self.ends.get_or_insert(now + self.window) {
            self.ends = Some(now + self.window);
            let full = std::mem::replace(&mut self.open, Window::EMPTY);
            if full.count >= self.min_samples {
                self.inner.observe(&full.mean(), now);
            }
        }
    }

    fn metering(&self) -> Metering {
        self.inner.metering()
    }

    fn yields(&self) -> bool {
        self.inner.yields()
    }
}

/// What a window has seen so far.
#[derive(Clone, Debug)]
struct Window {
    /// Durations and weights summed, the highest in-flight, and the worst outcome.
    total: Sample,
    /// Samples in `total`.
    count: u32,
}

impl Window {
    const EMPTY: Self = Self {
        total: Sample { in_flight: 0, weight: 0, ..Sample::new(Duration::ZERO, Outcome::Success) },
        count: 0,
    };

    fn add(&mut self, sample: &Sample) {
        let total = &mut self.total;
        total.latency = total.latency.saturating_add(sample.latency);
        total.run_queue = total.run_queue.saturating_add(sample.run_queue);
        total.busy = total.busy.saturating_add(sample.busy);
        total.in_flight = total.in_flight.max(sample.in_flight);
        total.weight = total.weight.saturating_add(sample.weight);
        if sample.outcome == Outcome::Overload {
            total.outcome = Outcome::Overload;
        }
        self.count = self.count.saturating_add(1);
    }

    /// The sample that stands for the window; durations are means.
    fn mean(&self) -> Sample {
        let count = self.count.max(1);
        Sample {
            latency: self.total.latency / count,
            run_queue: self.total.run_queue / count,
            busy: self.total.busy / count,
            ..self.total
        }
    }
}

// The defaults of WindowedLimit.Builder, Netflix/concurrency-limits.
const WINDOW: Duration = Duration::from_secs(1);
const MIN_SAMPLES: u32 = 10;
const MIN_LATENCY: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{MAX, aimd::Aimd, gradient2::Gradient2, vegas::Vegas};

    /// Keeps what it is told.
    #[derive(Debug, Default)]
    struct Recorder(Vec<Sample>);

    impl Limit for Recorder {
        fn limit(&self) -> usize {
            1
        }

        fn observe(&mut self, sample: &Sample, _now: Timestamp) {
            self.0.push(*sample);
        }

        fn metering(&self) -> Metering {
            Metering::RunQueue
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    fn success(micros: u64) -> Sample {
        Sample::new(Duration::from_micros(micros), Outcome::Success)
    }

    /// Nine samples of `micros` in the first millisecond after the start of a window.
    fn nine(limit: &mut Windowed<Recorder>, micros: u64) {
        for _ in 0..9 {
            limit.observe(&success(micros), at(1));
        }
    }

    /// Netflix/concurrency-limits, ImmutableAverageSampleWindowTest.java: calculateAverage and
    /// droppedSampleShouldNotChangeTrackedAverage, in nanoseconds.
    #[test]
    fn netflix_own_figures_are_reproduced() {
        let mut window = Window::EMPTY;
        for nanos in [5_000, 500, 10] {
            window.add(&Sample::new(Duration::from_nanos(nanos), Outcome::Success));
        }
        assert_eq!(window.mean().latency, Duration::from_nanos(1_836));
        window.add(&Sample::new(Duration::from_nanos(5_000), Outcome::Overload));
        assert_eq!(window.mean().latency, Duration::from_nanos(2_627));
        assert_eq!(window.mean().outcome, Outcome::Overload);
    }

    #[test]
    fn the_first_sample_after_a_second_ends_the_window_and_belongs_to_it() {
        let mut limit = Windowed::new(Recorder::default());
        nine(&mut limit, 1_000);
        let last = Sample { in_flight: 7, weight: 3, ..success(11_000) };
        limit.observe(&last, at(1_001));
        assert_eq!(limit.inner.0, []);
        limit.observe(&success(11_000), at(1_002));
        let expected = Sample {
            in_flight: 7,
            weight: 13,
            // (9 · 1 + 2 · 11) ms / 11.
            ..Sample::new(Duration::from_millis(31) / 11, Outcome::Success)
        };
        assert_eq!(limit.inner.0, [expected]);
    }

    #[test]
    fn one_overload_marks_the_window_and_not_the_next() {
        let mut limit = Windowed::new(Recorder::default());
        let overload = Sample::new(Duration::from_millis(1), Outcome::Overload);
        limit.observe(&overload, at(0));
        for tenth in 1..=31 {
            limit.observe(&success(1_000), at(tenth * 100));
        }
        let outcomes: Vec<_> = limit.inner.0.iter().map(|sample| sample.outcome).collect();
        assert_eq!(outcomes, [Outcome::Overload, Outcome::Success]);
    }

    #[test]
    fn a_window_with_too_few_samples_is_thrown_away_whole() {
        let mut limit = Windowed::new(Recorder::default());
        for second in 0..100 {
            limit.observe(&success(1_000), at(second * 1_001));
        }
        assert_eq!(limit.inner.0, []);
        assert!(limit.open.count <= 1);
    }

    #[test]
    fn fast_and_ignored_samples_are_dropped() {
        let mut limit = Windowed::new(Recorder::default());
        nine(&mut limit, 99);
        limit.observe(&Sample::new(Duration::from_secs(1), Outcome::Ignore), at(1));
        assert_eq!(limit.open.count, 0);
        nine(&mut limit, 100);
        assert_eq!(limit.open.count, 9);
    }

    #[test]
    fn it_measures_what_the_limit_inside_asks_for() {
        let limit = Windowed::new(Recorder::default());
        assert_eq!(limit.metering(), Metering::RunQueue);
        assert!(!limit.yields());
    }

    #[test]
    #[should_panic(expected = "window must be at least 100 ms")]
    fn a_window_too_short_is_refused() {
        let _ = Windowed::new(Recorder::default()).window(Duration::from_millis(99));
    }

    #[test]
    #[should_panic(expected = "min_samples must be in 10..=")]
    fn too_few_samples_are_refused() {
        let _ = Windowed::new(Recorder::default()).min_samples(9);
    }

    /// For every published limit, alone and in windows: `(lowest, highest, limit)`.
    fn published() -> Vec<(usize, usize, Box<dyn Limit>)> {
        let rash = Gradient2::new().max(MAX).min(1).queue(MAX).tolerance(9.0);
        let windowed = Windowed::new(Vegas::new()).min_latency(Duration::ZERO);
        vec![
            (20, 200, Box::new(Aimd::new())),
            (1, MAX, Box::new(Aimd::new().min(1).max(MAX).initial(MAX))),
            (1, 1_000, Box::new(Vegas::new())),
            (5, MAX, Box::new(Vegas::new().max(MAX).min(5).smoothing(0.1))),
            (7, 7, Box::new(Vegas::new().max(7).min(7))),
            (20, 200, Box::new(Gradient2::new())),
            (1, MAX, Box::new(rash.smoothing(1.0).long_window(1))),
            (1, 1_000, Box::new(windowed)),
            (20, 200, Box::new(Windowed::new(Gradient2::new()))),
        ]
    }

    /// Extremes and everything between, from a small generator (Knuth's MMIX constants).
    fn arbitrary(state: &mut u64) -> (Sample, Timestamp) {
        let mut draw = || {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *state >> 33
        };
        let latency = match draw() % 8 {
            0 => Duration::ZERO,
            1 => Duration::MAX,
            2 => Duration::from_nanos(1),
            3 => Duration::from_nanos(u64::MAX),
            scale => Duration::from_nanos((draw() % 1_000) * 10_u64.pow(scale as u32)),
        };
        let outcome = match draw() % 4 {
            0 => Outcome::Overload,
            1 => Outcome::Ignore,
            _ => Outcome::Success,
        };
        let in_flight = [0, usize::MAX, 1, 1_000, draw() as usize % 300][draw() as usize % 5];
        let weight = [0, 1, u32::MAX][draw() as usize % 3];
        let sample = Sample { in_flight, weight, ..Sample::new(latency, outcome) };
        let now = Timestamp::from_nanos(draw().wrapping_mul(draw()).wrapping_mul(draw()));
        (sample, now)
    }

    #[test]
    fn no_sample_takes_a_published_limit_out_of_its_bounds() {
        for seed in 0..20 {
            for (lowest, highest, mut limit) in published() {
                let mut state = seed;
                for _ in 0..5_000 {
                    let (sample, now) = arbitrary(&mut state);
                    limit.observe(&sample, now);
                    assert!(
                        (lowest..=highest).contains(&limit.limit()),
                        "seed {seed}, {sample:?}, {limit:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_published_limit_asks_for_latency() {
        for (_, _, limit) in published() {
            assert_eq!(limit.metering(), Metering::Latency);
        }
    }
}
