//! What the controller decides.

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
