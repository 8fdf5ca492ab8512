//! What new tenants hold in the flows that they share, until each has a flow of its own.

use std::collections::HashMap;

use super::NEWCOMER_FLOWS;
use super::seeded::Seeded;
use crate::flow::Flow;
use crate::hold::Hold;
use crate::time::Timestamp;

/// Units in flight of each newcomer. There are no more entries than permits in use.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    held: HashMap<(u64, Flow), Held, Seeded>,
}

/// Units in flight of one tenant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) units: u32,
    /// Sum of the times at which they were taken, in nanoseconds.
    pub(super) since: u128,
}

/// The two flows of a newcomer.
pub(super) const fn hand(tenant: u64) -> [Flow; 2] {
    let flows = NEWCOMER_FLOWS as u64;
    let (first, other) = (tenant % flows, 1 + (tenant / flows) % (flows - 1));
    [Flow::Newcomers(first as u8), Flow::Newcomers(((first + other) % flows) as u8)]
}

impl Newcomers {
    /// A request is admitted.
    pub(super) fn admitted(&mut self, flow: Flow, hold: &Hold, now: Timestamp) {
        if let (Flow::Newcomers(_), Some(tenant)) = (flow, hold.tenant) {
            let held = self.held.entry((tenant, flow)).or_default();
            held.units += hold.units;
            held.since += u128::from(hold.units) * u128::from(now.as_nanos());
        }
    }

    /// A request ends that was admitted as one of this flow; the flow that its units belong to now. A tenant that was
    /// [taken](Self::take) has all of them in its own.
    pub(super) fn released(&mut self, flow: Flow, hold: &Hold) -> Flow {
        let (Flow::Newcomers(_), Some(tenant)) = (flow, hold.tenant) else { return flow };
        let Some(held) = self.held.get_mut(&(tenant, flow)) else { return Flow::Tenant(tenant) };
        held.units = held.units.saturating_sub(hold.units);
        let since = u128::from(hold.units) * u128::from(hold.since.as_nanos());
        held.since = held.since.saturating_sub(since);
        if held.units == 0 {
            self.held.remove(&(tenant, flow));
        }
        flow
    }

    /// Takes out what a tenant holds in one of its flows, if it holds anything.
    pub(super) fn take(&mut self, tenant: u64) -> Option<(Flow, Held)> {
        if self.held.is_empty() {
            return None;
        }
        hand(tenant)
            .into_iter()
            .find_map(|flow| self.held.remove(&(tenant, flow)).map(|held| (flow, held)))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}
