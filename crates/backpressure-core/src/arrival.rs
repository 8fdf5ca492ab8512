//! What the machine is told of a request.

use crate::priority::Priority;
use crate::time::Timestamp;

/// A request at the door: how much it matters and until when somebody waits for it.
///
/// ```
/// use backpressure_core::{Arrival, Priority, Timestamp};
///
/// let arrival = Arrival::default()
///     .priority(Priority::Critical)
///     .deadline(Timestamp::from_nanos(1_000));
/// assert!(arrival.deadline.is_some());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Its criticality.
    pub priority: Priority,
    /// The instant after which its answer is worthless; `None`: never.
    pub deadline: Option<Timestamp>,
    /// Whether it was refused before and comes back when it was told to: it runs before new requests
    /// of its class. The caller of the machine vouches for that.
    pub returning: bool,
}

impl Arrival {
    /// The same request with another priority.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The same request with a deadline.
    #[must_use]
    pub const fn deadline(mut self, deadline: Timestamp) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The same request, as one that comes back when it was told to, or as a new one.
    ///
    /// ```
    /// use backpressure_core::Arrival;
    ///
    /// assert!(Arrival::default().returning(true).returning);
    /// ```
    #[must_use]
    pub const fn returning(mut self, returning: bool) -> Self {
        self.returning = returning;
        self
    }
}
