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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestInfo {
    /// Its priority.
    pub priority: Priority,
    /// The instant after which its response is worthless; `None`: never.
    pub deadline: Option<Timestamp>,
    /// Whether it was rejected before and comes back when it was told to: it runs before new requests of its
    /// priority. The caller has to verify it: a client that could simply claim it would pass all others.
    pub returning: bool,
    /// A number for the customer that the request is for; `None`: unknown. Within a priority the permits are
    /// shared fairly between tenants; requests without one are those of one tenant.
    pub tenant: Option<u64>,
    /// The share of its tenant beside those of others, 1 by default. 0 counts as 1.
    pub weight: u16,
    /// A number for the user, session or task within the tenant; `None`: unknown. Where a tenant gets less than it
    /// asks for, all requests of one task are on the same side of the cut for some seconds.
    pub task: Option<u64>,
    /// Units of the limit that the request takes, 1 by default. 0 counts as 1. More than the limit counts as the
    /// limit, so that the request can run alone.
    pub cost: u32,
}

impl Default for RequestInfo {
    fn default() -> Self {
        Self {
            priority: Priority::default(),
            deadline: None,
            returning: false,
            tenant: None,
            weight: 1,
            task: None,
            cost: 1,
        }
    }
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

    /// The same request, of a tenant with this weight.
    ///
    /// ```
    /// use backpressure_core::RequestInfo;
    ///
    /// // Twice the share of a tenant with the default weight.
    /// let info = RequestInfo::default().tenant(7).weight(2);
    /// assert_eq!(info.weight, 2);
    /// ```
    #[must_use]
    pub const fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }

    /// The same request, as a part of this task.
    #[must_use]
    pub const fn task(mut self, task: u64) -> Self {
        self.task = Some(task);
        self
    }

    /// The same request, taking this many units of the limit.
    #[must_use]
    pub const fn cost(mut self, units: u32) -> Self {
        self.cost = units;
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
