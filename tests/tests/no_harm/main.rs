//! A service with the defaults of this crate is never worse off than without.
//!
//! Each test is a world in which a limiter has done harm. Each prints one line for each run, and
//! the course of the first run that broke a promise:
//! `cargo test -p backpressure-tests --release --test no_harm -- --nocapture --test-threads=2`.

mod client_side;
mod failures;
mod holders;
mod nothing_scarce;

use std::time::Duration;

use backpressure_tests::load::Law;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;
/// Time in which a limiter may still find its limit in an overload that is there from the start.
const WARM_UP: Duration = Duration::from_secs(10);
/// Share of what the healthy part of a service can do that it has to do under overload.
const LEAST_SHARE: f64 = 0.95;

/// The first value with all seeds, the others with one: enough to see a kind, in seconds.
fn runs<T: Copy, const N: usize>(values: [T; N]) -> impl Iterator<Item = (T, u64)> {
    let all = values.into_iter().enumerate();
    all.flat_map(|(n, value)| {
        SEEDS.filter(move |seed| n == 0 || *seed == 1).map(move |s| (value, s))
    })
}

/// A bottleneck.
#[derive(Clone, Copy)]
struct Pool {
    slots: usize,
    service: Law,
}

impl Pool {
    const fn of(slots: usize, millis: u64) -> Self {
        Self { slots, service: Law::Fixed(Duration::from_millis(millis)) }
    }

    /// Requests a second that it can serve.
    fn capacity(self) -> f64 {
        self.slots as f64 / self.service.mean().as_secs_f64()
    }
}
