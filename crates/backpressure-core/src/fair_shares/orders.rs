//! The orders and sums of the flows of one priority.

use std::collections::BTreeSet;

use super::account::{Account, Demand, VirtualTime};
use crate::flow::Flow;
use crate::time::Timestamp;

/// What depends on all accounts together.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Flows with queued requests, by where their next one starts. A flow in service moves on with time: where
    /// it stands here is where it was at its last event, or before.
    pub(super) by_start: BTreeSet<(VirtualTime, Flow)>,
    /// Flows with queued requests, by how far they have to give way.
    pub(super) by_demand: BTreeSet<(Demand, Flow)>,
    /// Flows that are not active, by the fair time at which all that they asked for is done. One that has asked for
    /// more since, or is active again, is here where it was.
    pub(super) ahead: BTreeSet<(VirtualTime, Flow)>,
    /// Sums over all flows.
    pub(super) in_flight: u64,
    pub(super) queued: u64,
    /// The weight of the flows that are active, or have asked for more than they got.
    pub(super) weight: u64,
}

impl Orders {
    /// Takes an account out of all orders and sums.
    pub(super) fn take_out(&mut self, flow: Flow, account: &Account) {
        if account.counts {
            self.weight -= u64::from(account.weight);
        }
        self.in_flight -= u64::from(account.in_flight);
        self.queued -= u64::from(account.queued);
        if account.queued > 0 {
            self.by_start.remove(&(account.place, flow));
            self.by_demand.remove(&(account.demand(0), flow));
        }
    }

    /// Puts it back; false if it is at rest, and need not be kept.
    pub(super) fn put_in(
        &mut self,
        flow: Flow,
        account: &mut Account,
        fair_time: VirtualTime,
        now: Timestamp,
    ) -> bool {
        account.counts = account.is_active() || account.asked > fair_time;
        if account.queued > 0 {
            account.place = account.start(now);
            self.by_start.insert((account.place, flow));
            self.by_demand.insert((account.demand(0), flow));
        } else if !account.is_active() {
            if !account.counts {
                self.forget_idle(flow, account);
                return false;
            }
            if account.idle_place.is_none() {
                account.idle_place = Some(account.asked);
                self.ahead.insert((account.asked, flow));
            }
        }
        self.weight += u64::from(account.weight);
        self.in_flight += u64::from(account.in_flight);
        self.queued += u64::from(account.queued);
        true
    }

    /// Takes an account out of the order of idle flows.
    fn forget_idle(&mut self, flow: Flow, account: &mut Account) {
        if let Some(place) = account.idle_place.take() {
            self.ahead.remove(&(place, flow));
        }
    }
}
