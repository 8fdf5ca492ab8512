//! How long things took: a histogram that any thread may record into, and a copy of it to read.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of each doubling of the time. With eight, a quantile is at most 6 % off; with four it would be 12 %.
const PER_OCTAVE: usize = 8;
/// From 1 µs to 2 h 20 min; longer times count as that.
const BUCKETS: usize = 256;

/// Times that were recorded, in buckets whose widths grow with the time.
pub(super) struct Histogram([AtomicU64; BUCKETS]);

/// How often a time was seen, as of one moment.
///
/// It only grows: the times of a span are the [difference](Self::since) of two.
///
/// ```
/// use std::time::Duration;
/// use tower_backpressure::AdmissionLayer;
/// use tower_backpressure::observe::Registry;
///
/// let layer = AdmissionLayer::fixed("api-of-distribution", 8);
/// let report = Registry::global().report(layer.handle().id()).expect("the layer exists");
/// assert_eq!(report.response_time.quantile(0.99), None, "no request was timed yet");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Distribution(Box<[u64]>);

impl Histogram {
    pub(super) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }

    pub(super) fn record(&self, time: Duration, weight: u64) {
        self.0[bucket(time)].fetch_add(weight, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Distribution {
        Distribution(self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect())
    }
}

impl Distribution {
    /// Nothing was recorded.
    pub(super) fn empty() -> Self {
        Self(Box::default())
    }

    /// How many times were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What was recorded since an earlier copy of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let earlier = earlier.0.iter().copied().chain(std::iter::repeat(0));
        Self(self.0.iter().zip(earlier).map(|(now, then)| now.saturating_sub(then)).collect())
    }

    /// The time that this share of all does not exceed, at most 6 % off; `None` when nothing was recorded. A share
    /// outside 0.0..=1.0 counts as the nearer end.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros((lower(bucket) + lower(bucket + 1)) / 2))
    }
}

/// The bucket of a time.
fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    if micros < PER_OCTAVE as u64 {
        return micros as usize;
    }
    let octave = micros.ilog2() as usize;
    let within = (micros >> (octave - 3)) as usize % PER_OCTAVE;
    ((octave - 2) * PER_OCTAVE + within).min(BUCKETS - 1)
}

/// The least time of a bucket, in microseconds.
const fn lower(bucket: usize) -> u64 {
    if bucket < PER_OCTAVE {
        return bucket as u64;
    }
    ((PER_OCTAVE + bucket % PER_OCTAVE) as u64) << (bucket / PER_OCTAVE - 1)
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distribution")
            .field("count", &self.count())
            .field("median", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_begins_where_the_one_before_ends() {
        for index in 0..BUCKETS - 1 {
            let [first, next] = [index, index + 1].map(lower);
            assert_eq!(bucket(Duration::from_micros(first)), index);
            assert_eq!(bucket(Duration::from_micros(next - 1)), index, "{first} to {next}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_at_most_six_per_cent_off() {
        let histogram = Histogram::new();
        (1..=10_000).for_each(|micros| histogram.record(Duration::from_micros(micros * 10), 1));
        let all = histogram.read();
        for share in [0.01, 0.5, 0.9, 0.99, 0.999] {
            let (found, exact) = (all.quantile(share).expect("not empty"), share * 0.1);
            let error = (found.as_secs_f64() / exact - 1.0).abs();
            assert!(error <= 0.0626, "{share}: {found:?}, off by {error}");
        }
        assert_eq!(all.count(), 10_000);
    }

    #[test]
    fn the_difference_of_two_copies_has_what_was_recorded_between_them() {
        let histogram = Histogram::new();
        histogram.record(Duration::from_secs(1), 5);
        let before = histogram.read();
        histogram.record(Duration::from_millis(1), 3);
        let since = histogram.read().since(&before);
        assert_eq!(since.count(), 3);
        assert!(since.quantile(1.0).expect("not empty") < Duration::from_millis(2));
        assert_eq!(since.since(&since).quantile(0.5), None);
        assert_eq!(Distribution::empty().quantile(0.5), None);
    }
}
