//! A request in flight, as the metrics and the registry see it.

use super::metrics;
use super::stats::Timing;

/// A request in flight, until dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    counted: metrics::InFlight,
    /// `None`: it is not timed, or there is a response.
    timing: Option<Box<Timing>>,
}

impl InFlight {
    #[inline(always)]
    pub(super) fn timed(counted: metrics::InFlight, timing: Option<Box<Timing>>) -> Self {
        Self { counted, timing }
    }

    /// The service has responded, or failed.
    #[inline]
    pub(crate) fn answered(&mut self) {
        self.counted.answered();
        if let Some(timing) = self.timing.take() {
            timing.record();
        }
    }

    /// Marks that say "not begun" were removed from the response.
    pub(crate) fn marks_removed(&self) {
        self.counted.marks_removed();
    }

    /// Moves the count into another value.
    pub(crate) fn take(&mut self) -> Self {
        Self { counted: self.counted.take(), timing: self.timing.take() }
    }
}
