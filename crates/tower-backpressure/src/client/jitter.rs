//! Randomness that keeps callers apart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;

/// One stream of random spans, shared by all clones: two that copied the generator instead would
/// draw the same spans and return together.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(Arc<Mutex<Rng>>);

impl Jitter {
    pub(crate) fn new(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }

    /// Uniform over zero to `most`, both included.
    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_nanos(rng.u64(0..=nanos))
    }
}
