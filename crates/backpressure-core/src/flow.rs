//! Which requests compete as one: the flow of a tenant, and the priority within which it competes.

use crate::priority::Priority;

/// Requests that share one fair share. The order is that of the queue's map and decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Flow {
    /// Of no known tenant.
    Anonymous,
    /// Of tenants that are new; see `fair_shares::known`.
    Newcomers(u8),
    /// Of one tenant.
    Tenant(u64),
}

/// The flow of a request, and the priority within which it competes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Share {
    pub(crate) priority: Priority,
    pub(crate) flow: Flow,
}
