//! Random waits, so that clients do not return together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;

/// One stream of random spans, shared by all clones. Clones with a copy of the generator would draw the
/// same spans, and their requests would return together.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(Arc<Mutex<Rng>>);

impl Jitter {
    pub(crate) fn new(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }

    /// A span from the uniform distribution over zero to `max`, both included.
    pub(crate) fn up_to(&self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_nanos(rng.u64(0..=nanos))
    }

    /// A number from the uniform distribution over 0..1.
    pub(crate) fn fraction(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}
