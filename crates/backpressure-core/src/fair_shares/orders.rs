//! The orders and sums of the flows of one priority.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::account::{Account, Demand, NOWHERE, VirtualTime};
use super::ranking::Ranking;
use super::seeded::Seeded;
use crate::flow::Flow;
use crate::time::Timestamp;

pub(super) type Accounts = HashMap<Flow, Account, Seeded>;

/// What depends on all accounts together.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Flows with queued requests, by where their next one starts, or started before.
    by_start: Ranking<Reverse<VirtualTime>>,
    /// Flows with queued requests, by how far they have to give way, or had to before. The top is up to date.
    by_demand: Ranking<Demand>,
    /// Flows that are not active, by the fair time at which all that they asked for is done. One that has asked for
    /// more since, or is active again, is here where it was.
    ahead: Ranking<Reverse<VirtualTime>>,
    /// Sums over all flows.
    pub(super) in_flight: u64,
    pub(super) queued: u64,
    /// Flows with queued requests.
    pub(super) flows_queued: usize,
    /// The weight of the flows that are active, or have asked for more than they got.
    pub(super) weight: u64,
}

/// Idle flows that one event examines.
const MAX_SETTLED: usize = 2;
/// Idle flows that are kept, because they have asked for more than their share so far. Those that have got most of
/// it are forgotten first, and gain least.
const MAX_AHEAD: usize = 16_384;
/// Flows with queued requests whose place is brought up to date for one request: more of them are in service only
/// where their requests take much longer than usual, and they are brought up to date by the next requests.
const MAX_UPDATES: usize = 16;

impl Orders {
    /// Takes an account out of all sums.
    pub(super) fn take_out(&mut self, account: &Account) {
        if account.counts {
            self.weight -= u64::from(account.weight);
        }
        self.in_flight -= u64::from(account.in_flight);
        self.queued -= u64::from(account.queued);
        self.flows_queued -= usize::from(account.queued > 0);
    }

    /// Puts it into all sums, and into the orders where it has moved up; false if it is at rest, and need not be
    /// kept.
    pub(super) fn put_in(
        &mut self,
        flow: Flow,
        account: &mut Account,
        fair_time: VirtualTime,
        now: Timestamp,
    ) -> bool {
        account.counts = account.is_active() || account.asked > fair_time;
        if !account.counts {
            return false;
        }
        if account.queued > 0 {
            self.place_queued(flow, account, now);
        } else if account.in_flight == 0 && account.idle_place == NOWHERE {
            account.idle_place = account.asked;
            self.ahead.push(Reverse(account.asked), flow);
        }
        self.weight += u64::from(account.weight);
        self.in_flight += u64::from(account.in_flight);
        self.queued += u64::from(account.queued);
        self.flows_queued += usize::from(account.queued > 0);
        true
    }

    fn place_queued(&mut self, flow: Flow, account: &mut Account, now: Timestamp) {
        let start = account.start(now);
        if start < account.place {
            account.place = start;
            self.by_start.push(Reverse(start), flow);
        }
        let demand = Some(account.demand(0));
        if demand > account.demand_place {
            account.demand_place = demand;
            self.by_demand.push(account.demand(0), flow);
        }
    }

    /// The account of this flow has changed: brings the orders up to date as far as they have to be.
    pub(super) fn settle(&mut self, flow: Flow, accounts: &mut Accounts, now: Timestamp) {
        let Self { by_start, by_demand, flows_queued, .. } = self;
        if by_demand.top().is_some_and(|(_, top)| top == flow) {
            by_demand.settle(usize::MAX, |place, flow| demand_of(accounts, place, flow));
        }
        by_demand.compact(*flows_queued, |place, flow| demand_of(accounts, place, flow));
        by_start.compact(*flows_queued, |place, flow| start_of(accounts, place, flow, now));
    }

    /// The flow with the lowest start, as of now.
    pub(super) fn next(&mut self, accounts: &mut Accounts, now: Timestamp) -> Option<Flow> {
        self.by_start.settle(MAX_UPDATES, |place, flow| start_of(accounts, place, flow, now));
        self.by_start.top().map(|(_, flow)| flow)
    }

    pub(super) fn fattest(&self) -> Option<(Demand, Flow)> {
        self.by_demand.top()
    }

    /// Forgets the idle flows that have got what they asked for, and those beyond the bound.
    pub(super) fn forget(
        &mut self,
        accounts: &mut Accounts,
        fair_time: VirtualTime,
        now: Timestamp,
    ) {
        for _ in 0..MAX_SETTLED {
            let is_over_bound = self.ahead.len() > MAX_AHEAD;
            let Some((Reverse(place), flow)) = self.ahead.top() else { return };
            if place > fair_time && !is_over_bound {
                return;
            }
            self.ahead.pop();
            let account = accounts.get_mut(&flow).filter(|account| account.idle_place == place);
            let Some(account) = account else { continue };
            account.idle_place = NOWHERE;
            if account.is_active() {
                continue;
            }
            self.take_out(account);
            let is_ahead = account.asked > fair_time && !is_over_bound;
            if !is_ahead || !self.put_in(flow, account, fair_time, now) {
                accounts.remove(&flow);
            }
        }
    }
}

/// The demand of a flow with this entry; `None`: it has another one, or nothing queued.
fn demand_of(accounts: &mut Accounts, place: Demand, flow: Flow) -> Option<Demand> {
    let account = accounts.get_mut(&flow).filter(|it| it.demand_place == Some(place))?;
    account.demand_place = (account.queued > 0).then(|| account.demand(0));
    account.demand_place
}

/// Where a flow with this entry starts; `None`: it has another one, or nothing queued.
fn start_of(
    accounts: &mut Accounts,
    Reverse(place): Reverse<VirtualTime>,
    flow: Flow,
    now: Timestamp,
) -> Option<Reverse<VirtualTime>> {
    let account = accounts.get_mut(&flow).filter(|it| it.place == place)?;
    account.place = if account.queued > 0 { account.start(now) } else { NOWHERE };
    (account.queued > 0).then_some(Reverse(account.place))
}

#[cfg(test)]
impl Orders {
    pub(super) fn assert_bounded(&self) {
        self.by_start.assert_bounded(self.flows_queued);
        self.by_demand.assert_bounded(self.flows_queued);
    }
}
