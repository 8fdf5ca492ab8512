//! What the controller is told about a request.

use crate::priority::Priority;
use crate::time::Timestamp;

/// What is known of a request on arrival: its priority, its deadline, and whether it comes back when told to.
///
/// ```
/// use backpressure_core::{RequestInfo, Priority, Timestamp};
///
/// let info = RequestInfo::default()
///     .priority(Priority::Critical)
///     .deadline(Timestamp::from_nanos(1_000));
/// assert!(info.deadline.is_some());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestInfo {
    /// Its priority.
    pub priority: Priority,
    /// The instant after which its response is worthless; `None`: never.
    pub deadline: Option<Timestamp>,
    /// Whether it was rejected before and comes back when it was told to: it runs before new requests of its
    /// priority. The caller has to verify it: a client that could simply claim it would pass all others.
    pub returning: bool,
    /// A number for the customer or user that the request is for; `None`: unknown. Under overload all
    /// requests of one tenant are on the same side of the cut through a priority for some seconds.
    pub tenant: Option<u64>,
}

impl RequestInfo {
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

    /// The same request, for this tenant.
    #[must_use]
    pub const fn tenant(mut self, tenant: u64) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// The same request, as one that comes back when it was told to, or as a new one.
    ///
    /// ```
    /// use backpressure_core::RequestInfo;
    ///
    /// assert!(RequestInfo::default().returning(true).returning);
    /// ```
    #[must_use]
    pub const fn returning(mut self, returning: bool) -> Self {
        self.returning = returning;
        self
    }
}
