//! What a limiter asks of the set that it is a part of.

use std::fmt;

use backpressure_core::Timestamp;

/// Lends a limiter units of a total that others share.
pub(super) trait Lender: fmt::Debug + Send + Sync {
    /// Whether measurements change the total.
    fn adapts(&self) -> bool;

    /// Whether the total has to change. The only question that is asked with the limiter's lock held: it takes none.
    fn is_resized(&self) -> bool;

    /// Requests in flight in the other limiters, where the total adapts.
    fn in_flight_elsewhere(&self) -> usize;

    /// Does what the limiter needs.
    fn settle(&self, needs: Needs, now: Timestamp);
}

/// What a limiter of a set needs done once its lock is released.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// Units that it has taken from its allowance, because they were recalled.
    pub(super) returned: usize,
    /// Units that its queue lacks.
    pub(super) lacks: usize,
    /// Whether others have units of its own.
    pub(super) is_owed: bool,
    /// Whether the total has to change.
    pub(super) resizes: bool,
}

impl Needs {
    pub(super) const fn any(self) -> bool {
        self.returned > 0 || self.lacks > 0 || self.is_owed || self.resizes
    }
}
