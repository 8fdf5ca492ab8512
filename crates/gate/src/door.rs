//! The hall and its clock.

use std::time::Duration;

use backpressure_core::{Arrival, Machine, Timestamp};
use tokio::time::Instant;

use crate::desk::Answer;
use crate::hall::Hall;

/// What the handles of one gate, its permits and those who wait have in common.
#[derive(Debug)]
pub(crate) struct Door {
    hall: Hall,
    epoch: Instant,
}

/// As far away as anybody waits: 30 years, the furthest that tokio's own timers go.
const FAR_FUTURE: Duration = Duration::from_secs(86_400 * 365 * 30);

impl Door {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { hall: Hall::new(machine), epoch: Instant::now() }
    }

    pub(crate) const fn hall(&self) -> &Hall {
        &self.hall
    }

    /// Enters, or asks.
    pub(crate) fn enter(&self, arrival: Arrival, now: impl FnOnce() -> Timestamp) -> Answer {
        match self.hall.pass() {
            Some(entry) => Answer::Run(entry),
            None => self.hall.ask(arrival, now()),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.timestamp(Instant::now())
    }

    pub(crate) fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::ZERO + at.saturating_duration_since(self.epoch)
    }

    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        let since = at.since(Timestamp::ZERO);
        self.epoch.checked_add(since).unwrap_or_else(|| Instant::now() + FAR_FUTURE)
    }
}
