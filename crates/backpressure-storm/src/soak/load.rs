//! What the clients of a soak share.

use super::tally::Tally;
use crate::pool::Pool;
use std::net::SocketAddr;

/// What all clients share.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) pool: Pool,
    /// Requests a second of all kinds together.
    pub(super) rate: f64,
    pub(super) tally: Tally,
}
