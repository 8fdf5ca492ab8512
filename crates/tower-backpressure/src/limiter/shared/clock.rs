//! The clock of a limiter: tokio's, as time since an epoch.

use std::time::Duration;

use backpressure_core::Timestamp;
use tokio::time::Instant;

use super::Shared;
use crate::limiter::sync::atomic::Ordering;

/// The longest wait that tokio's timers support: 30 years.
const FAR_FUTURE: Duration = Duration::from_secs(86_400 * 365 * 30);

impl Shared {
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

    /// The I/O driver has just been polled.
    pub(crate) fn set_io_polled(&self, now: Timestamp) {
        self.io_polled.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When the I/O driver was last polled, as far as is known.
    pub(crate) fn io_polled(&self) -> Timestamp {
        Timestamp::from_nanos(self.io_polled.load(Ordering::Relaxed))
    }
}
