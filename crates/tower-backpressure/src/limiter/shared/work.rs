//! The time that workers spend on requests.

use std::time::Duration;

use super::super::sync::atomic::Ordering;
use super::Shared;
use crate::nanos::nanos;

impl Shared {
    /// A worker has spent this long on a request.
    pub(crate) fn add_busy(&self, span: Duration) {
        self.busy.fetch_add(nanos(span), Ordering::Relaxed);
    }

    /// A worker has spent this long on the body of a response.
    ///
    /// A response is measured when its head is ready, before that is known. So the time is charged to the next one that
    /// is measured: the limit learns from sums over many, which are the same.
    pub(crate) fn add_body_time(&self, span: Duration) {
        self.body_time.fetch_add(nanos(span), Ordering::Relaxed);
    }

    /// Time on bodies that was not charged to a response yet.
    pub(crate) fn take_body_time(&self) -> Duration {
        match self.body_time.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ => Duration::from_nanos(self.body_time.swap(0, Ordering::Relaxed)),
        }
    }
}
