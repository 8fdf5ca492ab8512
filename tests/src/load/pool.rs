//! A bottleneck of so many slots.

use std::time::Duration;

use super::{Distribution, Load};

/// A bottleneck: requests occupy one of its slots.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Requests that it runs at once.
    pub slots: usize,
    /// How long a request occupies a slot.
    pub service: Distribution,
}

impl Pool {
    /// Each request takes so many milliseconds.
    #[must_use]
    pub const fn fixed(slots: usize, millis: u64) -> Self {
        Self { slots, service: Distribution::Fixed(Duration::from_millis(millis)) }
    }

    /// A request takes so many milliseconds on average, with half of that as the standard deviation.
    #[must_use]
    pub const fn varied(slots: usize, millis: u64) -> Self {
        Self { slots, service: Distribution::Lognormal(Duration::from_millis(millis), 0.5) }
    }

    /// Requests a second that the bottleneck can serve.
    #[must_use]
    pub fn capacity(self) -> f64 {
        self.slots as f64 / self.service.mean().as_secs_f64()
    }

    /// A limit as an operator would set it after load tests: twice the slots.
    #[must_use]
    pub const fn tuned(self) -> usize {
        2 * self.slots
    }

    /// Load on this bottleneck.
    pub fn load(self, label: &str, seed: u64) -> Load {
        Load::new(label, seed).bottleneck(self.slots, self.service)
    }
}
