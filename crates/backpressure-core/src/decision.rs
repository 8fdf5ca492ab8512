//! The answers of the controller.

use crate::queue::Ticket;
use crate::shed::Shed;
use crate::time::Timestamp;

/// What happens to a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs now.
    Run,
    /// It waits until [`Controller::next`](crate::Controller::next) names the ticket, at the latest until the given moment.
    Queue(Ticket, Timestamp),
    /// It is rejected.
    Reject(Shed),
}

/// What happens to a request that waited in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dequeued {
    /// It runs now.
    Run(Ticket),
    /// It is rejected.
    Reject(Ticket, Shed),
}
