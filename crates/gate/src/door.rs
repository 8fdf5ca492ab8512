//! The hall and its clock.

use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Nanoseconds to the last look at the sockets that is known of.
    looked: AtomicU64,
}

/// As far away as anybody waits: 30 years, the furthest that tokio's own timers go.
const FAR_FUTURE: Duration = Duration::from_secs(86_400 * 365 * 30);

impl Door {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { hall: Hall::new(machine), epoch: Instant::now(), looked: AtomicU64::new(0) }
    }

    pub(crate) const fn hall(&self) -> &Hall {
        &self.hall
    }

    /// Enters, or asks.
    pub(crate) fn enter(&self, arrival: Arrival, now: impl FnOnce() -> Timestamp) -> Answer {
        if let Some(deadline) = arrival.deadline {
            let now = now();
            // The machine says when to come back.
            let in_time = (now < deadline).then(|| self.hall.pass()).flatten();
            return in_time.map_or_else(|| self.hall.ask(arrival, now), Answer::Run);
        }
        match self.hall.pass() {
            Some(entry) => Answer::Run(entry),
            None => self.hall.ask(arrival, now()),
        }
    }

    /// Somebody has just come back from the I/O driver.
    pub(crate) fn look(&self, now: Timestamp) {
        self.looked.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When the sockets were looked at last, as far as is known.
    pub(crate) fn looked(&self) -> Timestamp {
        Timestamp::from_nanos(self.looked.load(Ordering::Relaxed))
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
