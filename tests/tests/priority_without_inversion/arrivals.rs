//! Regular and random arrivals.

use std::time::Duration;

use backpressure_core::{Priority, Timestamp};
use fastrand::Rng;

/// `rate` arrivals a second at equal distances, in phase with other regular streams.
pub(crate) fn regular(
    rate: u64,
    seconds: u64,
    offset_us: u64,
    priority: Priority,
) -> Vec<(Timestamp, Priority)> {
    let at = |n| Timestamp::from_nanos(offset_us * 1_000 + n * 1_000_000_000 / rate);
    (0..rate * seconds).map(|n| (at(n), priority)).collect()
}

pub(crate) fn poisson(
    rate: f64,
    seconds: f64,
    rng: &mut Rng,
    priority: Priority,
) -> Vec<(Timestamp, Priority)> {
    let mut at = 0.0;
    std::iter::from_fn(|| {
        at -= (1.0 - rng.f64()).ln() / rate;
        (at < seconds).then(|| (Timestamp::ZERO + Duration::from_secs_f64(at), priority))
    })
    .collect()
}

pub(crate) fn merged(streams: Vec<Vec<(Timestamp, Priority)>>) -> Vec<(Timestamp, Priority)> {
    let mut all = streams.concat();
    // A stable sort: at equal times the first stream comes first.
    all.sort_by_key(|&(at, _)| at);
    all
}
