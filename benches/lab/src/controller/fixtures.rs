//! Attempts, samples and moments for tests that step a controller by hand.

use std::time::Duration;

use backpressure_core::{Outcome, RequestInfo, Sample, Timestamp};

use crate::controller::{AttemptInfo, Site};

/// Eight workers, 10 ms a request.
pub(super) const SITE: Site = Site { knee: 8.0, cores: 8.0, mean: 0.01, seed: 7, replica: 0 };

pub(super) fn attempt(id: u64) -> AttemptInfo {
    AttemptInfo { id, arrival: RequestInfo::default() }
}

pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(millis)
}

pub(super) fn success(micros: u64, in_flight: usize) -> Sample {
    Sample::new(Duration::from_micros(micros), Outcome::Success).in_flight(in_flight)
}

pub(super) fn overload(micros: u64, in_flight: usize) -> Sample {
    success(micros, in_flight).outcome(Outcome::Overload)
}
