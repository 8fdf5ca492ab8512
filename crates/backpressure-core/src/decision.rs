//! What the controller decides.

use crate::fair_shares::Share;
use crate::queue::Ticket;
use crate::shed::Shed;
use crate::time::Timestamp;

/// What happens to a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs now.
    Run,
    /// It is queued until [`Controller::next`](crate::Controller::next) returns the ticket. At the given
    /// moment the driver calls [`Controller::expire`](crate::Controller::expire).
    Queue(Ticket, Timestamp),
    /// It is rejected, and told when to come back.
    Reject(Shed),
}

/// What happens to a queued request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dequeued {
    /// It runs now.
    Run(Ticket),
    /// It is rejected.
    Reject(Ticket, Shed),
}

/// What a request in flight holds: units of the limit, and the share of its tenant.
///
/// [`Controller::hold`](crate::Controller::hold) returns that of the request that was admitted last. The driver
/// counts its units in flight, and passes it to [`Controller::release`](crate::Controller::release) when they are
/// free again.
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
