//! What a request in flight holds.

use crate::flow::Share;
use crate::time::Timestamp;

/// What a request in flight holds: units of the limit, and the share of its tenant.
///
/// [`Controller::hold`](crate::Controller::hold) returns that of the request that was admitted last. The driver
/// counts its units in flight, and passes it to [`Controller::release`](crate::Controller::release) when they are
/// free again.
///
/// ```
/// use backpressure_core::{Controller, Decision, Fixed, QueueBounds, RequestInfo, Timestamp};
///
/// let mut controller = Controller::new(Box::new(Fixed::new(10)), QueueBounds::default());
/// let now = Timestamp::ZERO;
/// assert_eq!(controller.arrive(RequestInfo::default().cost(8), 0, now), Decision::Run);
/// let hold = controller.hold();
/// assert_eq!(hold.units(), 8);
/// controller.release(hold, now); // when the request has ended
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    pub(crate) units: u32,
    pub(crate) share: Option<Share>,
    pub(crate) tenant: Option<u64>,
    pub(crate) weight: u16,
    pub(crate) since: Timestamp,
}

impl Hold {
    /// One unit, and no share.
    pub(crate) const ONE: Self =
        Self { units: 1, share: None, tenant: None, weight: 1, since: Timestamp::ZERO };

    /// Units of the limit, which count in flight.
    #[must_use]
    pub const fn units(&self) -> usize {
        self.units as usize
    }

    /// Whether it is one unit and nothing else, so that its release needs not be told.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.units == 1 && self.share.is_none()
    }
}
