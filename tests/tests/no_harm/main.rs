//! A service behind a layer with default settings serves no fewer requests than without the layer.
//!
//! Each test is a load under which a limiter has once rejected requests that could have been served.
//! It prints one line for each run, and the timeline of the first run that failed:
//! `cargo test -p backpressure-tests --release --test no_harm -- --nocapture --test-threads=2`.

mod client_limit;
mod failures;
mod no_bottleneck;
mod permits_without_work;
mod slow_pools;

use std::time::Duration;

use backpressure_tests::load::Pool;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;
/// Time a limiter may need to find its limit when the load starts above the capacity.
const WARM_UP: Duration = Duration::from_secs(10);
/// Least throughput under overload, as a share of what the healthy part of the service can do.
const MIN_GOODPUT_SHARE: f64 = 0.95;

/// Pairs the first value with all seeds and the others with one, which keeps a test within seconds.
fn runs<T: Copy, const N: usize>(values: [T; N]) -> impl Iterator<Item = (T, u64)> {
    let all = values.into_iter().enumerate();
    all.flat_map(|(n, value)| {
        SEEDS.filter(move |seed| n == 0 || *seed == 1).map(move |s| (value, s))
    })
}
