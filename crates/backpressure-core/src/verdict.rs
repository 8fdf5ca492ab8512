//! What the machine says.

use crate::queue::Ticket;
use crate::shed::Shed;
use crate::time::Timestamp;

/// The answer to an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs now.
    Run,
    /// It waits: until [`Machine::next`](crate::Machine::next) names the ticket, or until the given moment at the latest.
    Wait(Ticket, Timestamp),
    /// It is turned away.
    Shed(Shed),
}

/// What happens to somebody who waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It runs now.
    Run(Ticket),
    /// It is turned away.
    Shed(Ticket, Shed),
}
