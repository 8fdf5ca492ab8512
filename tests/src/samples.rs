//! A limit that writes down what it is taught.

use std::sync::{Arc, Mutex, PoisonError};

use backpressure_core::{Limit, Sample, Timestamp};

/// Keeps its limit and every sample it sees.
#[derive(Clone, Debug)]
pub struct Notebook {
    limit: usize,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Notebook {
    /// An empty one, with this limit for ever.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, samples: Arc::default() }
    }

    /// What was written since the last look.
    #[must_use]
    pub fn read(&self) -> Vec<Sample> {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut samples)
    }
}

impl Limit for Notebook {
    fn limit(&self) -> usize {
        self.limit
    }

    fn observe(&mut self, sample: &Sample, _now: Timestamp) {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).push(*sample);
    }
}
