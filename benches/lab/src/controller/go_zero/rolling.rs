//! go-zero's rolling window: the buckets of the last five seconds without the one being filled.

use std::collections::VecDeque;
use std::time::Duration;

use backpressure_core::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Rolling(VecDeque<Bucket>);

#[derive(Debug)]
struct Bucket {
    number: u64,
    passes: f64,
    /// Milliseconds, each rounded up.
    latencies: f64,
}

impl Rolling {
    pub(super) fn pass(&mut self, latency: Duration, now: Timestamp) {
        let number = now.as_nanos() / BUCKET;
        if self.0.back().is_none_or(|last| last.number < number) {
            self.0.push_back(Bucket { number, passes: 0.0, latencies: 0.0 });
            self.0.retain(|bucket| bucket.number + BUCKETS > number);
        }
        if let Some(bucket) = self.0.back_mut() {
            bucket.passes += 1.0;
            bucket.latencies += (latency.as_secs_f64() * 1e3).ceil();
        }
    }

    fn full(&self, now: Timestamp) -> impl Iterator<Item = &Bucket> {
        let number = now.as_nanos() / BUCKET;
        let recent =
            move |bucket: &&Bucket| bucket.number < number && bucket.number + BUCKETS > number;
        self.0.iter().filter(recent)
    }

    /// Passes in the fullest bucket, at least 1.
    pub(super) fn max_pass(&self, now: Timestamp) -> f64 {
        self.full(now).map(|bucket| bucket.passes).fold(1.0, f64::max)
    }

    /// The smallest mean latency of a bucket, in whole milliseconds; a second if there is none.
    pub(super) fn min_latency(&self, now: Timestamp) -> f64 {
        let means = self.full(now).map(|bucket| (bucket.latencies / bucket.passes).round());
        means.fold(1_000.0, f64::min)
    }
}

/// 100 ms: 5 s in 50 buckets.
const BUCKET: u64 = 100_000_000;
const BUCKETS: u64 = 50;
/// Buckets per second over 1000: passes per bucket times milliseconds is then requests in flight.
pub(super) const SCALE: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::at;

    #[test]
    fn buckets_expire_after_five_seconds() {
        let mut window = Rolling::default();
        window.pass(Duration::from_millis(3), at(0));
        window.pass(Duration::from_millis(9), at(100));
        assert_eq!((window.min_latency(at(50)), window.min_latency(at(150))), (1_000.0, 3.0));
        assert_eq!((window.min_latency(at(4_999)), window.min_latency(at(5_000))), (3.0, 9.0));
        window.pass(Duration::from_millis(9), at(9_000));
        assert_eq!(window.0.len(), 1);
    }
}
