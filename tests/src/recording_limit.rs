//! A fixed limit that records the samples it receives.

use std::sync::{Arc, Mutex, PoisonError};

use backpressure_core::{Limit, Sample, Timestamp};

/// A limit that never changes and keeps every sample.
#[derive(Clone, Debug)]
pub struct RecordingLimit {
    limit: usize,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl RecordingLimit {
    /// A limit of `limit` without samples.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, samples: Arc::default() }
    }

    /// Removes and returns the samples recorded so far.
    #[must_use]
    pub fn take_samples(&self) -> Vec<Sample> {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut samples)
    }
}

impl Limit for RecordingLimit {
    fn limit(&self) -> usize {
        self.limit
    }

    fn observe(&mut self, sample: &Sample, _now: Timestamp) {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).push(*sample);
    }
}
