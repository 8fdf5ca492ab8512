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

use backpressure_tests::load::{Distribution, Load};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Seeds of known misses; the other tests have one, which keeps them within seconds.
const SEEDS: std::ops::RangeInclusive<u64> = 11..=13;
const SEED: std::ops::RangeInclusive<u64> = 11..=11;
/// Time a limiter may need to find its limit when the load starts above the capacity.
const WARM_UP: Duration = Duration::from_secs(10);

/// A bottleneck: requests occupy one of its slots for a time that varies.
#[derive(Clone, Copy)]
struct Pool {
    slots: usize,
    service: Distribution,
}

impl Pool {
    const fn of(slots: usize, millis: u64) -> Self {
        Self { slots, service: Distribution::Lognormal(Duration::from_millis(millis), 0.5) }
    }

    /// Requests a second that the bottleneck can serve.
    fn capacity(self) -> f64 {
        self.slots as f64 / self.service.mean().as_secs_f64()
    }

    /// A limit as an operator would set it after load tests: twice the slots.
    const fn tuned(self) -> usize {
        2 * self.slots
    }

    fn load(self, label: &str, seed: u64) -> Load {
        Load::new(label, seed).bottleneck(self.slots, self.service)
    }
}
