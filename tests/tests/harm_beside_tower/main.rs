//! Situations of everyday services: an adaptive limit with its defaults serves no fewer requests in time
//! than no limit, and than a limit of tower that was tuned by hand for the situation.
//!
//! `cargo test -p backpressure-tests --release --test harm_beside_tower -- --nocapture` prints the figures.

mod arrivals;
mod clients;
mod dependencies;
mod mixes;
mod proxies;

use std::time::Duration;

use backpressure_tests::load::Pool;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Seeds of known misses; the other tests have one, which keeps them within seconds.
const SEEDS: std::ops::RangeInclusive<u64> = 11..=13;
const SEED: std::ops::RangeInclusive<u64> = 11..=11;
/// Time a limiter may need to find its limit when the load starts above the capacity.
const WARM_UP: Duration = Duration::from_secs(10);
