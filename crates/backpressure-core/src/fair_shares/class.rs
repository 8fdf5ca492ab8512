//! The flows of one priority, in the orders in which they run and give way.

use std::time::Duration;

use super::account::{Account, VirtualTime, per_weight};
use super::newcomers::{self, Newcomers};
use super::orders::{Accounts, Orders};
use super::{NEWCOMER_FLOWS, Room, Standing};
use crate::flow::Flow;
use crate::hold::Hold;
use crate::schedule::MAX_WAIT;
use crate::time::Timestamp;

/// The flows that compete with each other.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// Flows that are active, or ahead of the virtual time.
    accounts: Accounts,
    orders: Orders,
    newcomers: Newcomers,
    /// Where a flow starts that begins anew.
    virtual_time: VirtualTime,
    /// What a flow with the weight 1 has got so far that has always asked for something.
    fair_time: VirtualTime,
    now: Timestamp,
    /// Mean permit-time, for flows of which nothing is known yet, in nanoseconds.
    mean: u64,
    /// Permits that flows with more than their share leave free, and until when.
    reserved: usize,
    reserved_until: Timestamp,
}

/// Inside, a weight counts this many times, so that the newcomers can share the weight of one tenant.
const WEIGHT_UNIT: u32 = NEWCOMER_FLOWS as u32;
/// How long a reserved permit stays reserved without another rejection. Shorter, and each second has its
/// rejections anew; longer, and a tenant finds less than it could use for as long.
const RESERVED_FOR: Duration = Duration::from_secs(1);
/// The share of the permits that is reserved at most.
const MAX_RESERVED: usize = 10;

/// Tenants that are new, and how they become flows of their own.
impl Class {
    /// The flow of a tenant of which a request arrives. A new one has the shorter one of two that its number selects
    /// (shuffle sharding with a hand of two). What it holds as a newcomer counts as its own once it is known, or a
    /// tenant whose requests hang would have a fresh share beside what it holds.
    pub(super) fn flow_of(&mut self, tenant: u64, is_known: bool, weight: u16) -> Flow {
        let own = Flow::Tenant(tenant);
        if !is_known && !self.has_in_flight(own) {
            let [one, other] = newcomers::hand(tenant);
            return if self.queued(other) < self.queued(one) { other } else { one };
        }
        while let Some((flow, held)) = self.newcomers.take(tenant) {
            let (now, fair_time) = (self.now, self.fair_time);
            self.edit(flow, None, |account| account.hand_over(held, now));
            self.edit(own, Some(weight), |account| account.take_over(held, fair_time));
        }
        own
    }

    /// The flow of the tenant of a request that arrived among newcomers, where that tenant has become known and
    /// holds permits.
    fn own_flow(&self, flow: Flow, hold: &Hold) -> Option<Flow> {
        let tenant = hold.tenant.filter(|_| matches!(flow, Flow::Newcomers(_)))?;
        Some(Flow::Tenant(tenant)).filter(|&own| self.has_in_flight(own))
    }

    fn has_in_flight(&self, flow: Flow) -> bool {
        self.accounts.get(&flow).is_some_and(|account| account.in_flight > 0)
    }
}

impl Class {
    /// Moves both times: by the permits in use over the weight that counts.
    pub(super) fn advance(&mut self, now: Timestamp) {
        if now <= self.now {
            return;
        }
        let nanos = u128::from(now.since(self.now).as_nanos() as u64);
        if self.orders.weight > 0 {
            let step = per_weight(nanos * u128::from(self.orders.in_flight), self.orders.weight);
            self.virtual_time += step;
            self.fair_time += step;
        }
        self.now = now;
    }

    pub(super) fn queued(&self, flow: Flow) -> u32 {
        self.accounts.get(&flow).map_or(0, |account| account.queued)
    }

    /// A request arrives that is not admitted at once.
    pub(super) fn asked(&mut self, flow: Flow, weight: u16, units: u32) {
        let fair_time = self.fair_time;
        self.edit(flow, Some(weight), |account| account.ask(units, fair_time));
    }

    /// A request is admitted on arrival; the flow that it belongs to from now on.
    pub(super) fn admitted(&mut self, flow: Flow, hold: &Hold) -> Flow {
        let flow = self.own_flow(flow, hold).unwrap_or(flow);
        self.newcomers.admitted(flow, hold, self.now);
        let (now, fair_time) = (self.now, self.fair_time);
        let start = self.edit(flow, Some(hold.weight), |account| {
            let start = account.start(now);
            account.ask(hold.units, fair_time);
            account.admit(hold.units, now);
            start
        });
        self.virtual_time = self.virtual_time.max(start);
        flow
    }

    /// A request is admitted from the queue; the flow that it belongs to from now on.
    pub(super) fn dispatched(&mut self, flow: Flow, hold: &Hold) -> Flow {
        if self.own_flow(flow, hold).is_some() {
            // It was the turn of the newcomers.
            self.edit(flow, None, |account| account.spend_turn(hold.units));
            return self.admitted(flow, hold);
        }
        self.newcomers.admitted(flow, hold, self.now);
        let now = self.now;
        let start = self.edit(flow, None, |account| {
            let start = account.start(now);
            account.queued = account.queued.saturating_sub(1);
            account.admit(hold.units, now);
            start
        });
        self.virtual_time = self.virtual_time.max(start);
        flow
    }

    pub(super) fn released(&mut self, flow: Flow, hold: &Hold) {
        let flow = self.newcomers.released(flow, hold);
        let now = self.now;
        let mean = self.edit(flow, None, |account| {
            account.release(hold.units, hold.since, now);
            account.mean()
        });
        self.mean = (7 * self.mean).saturating_add(mean) / 8;
    }

    pub(super) fn enqueued(&mut self, flow: Flow, weight: u16) {
        self.edit(flow, Some(weight), |account| account.queued += 1);
    }

    pub(super) fn dequeued(&mut self, flow: Flow) {
        self.edit(flow, None, |account| account.queued = account.queued.saturating_sub(1));
    }

    /// The flow with the lowest start, as of now.
    pub(super) fn next(&mut self) -> Option<Flow> {
        self.orders.next(&mut self.accounts, self.now)
    }

    pub(super) fn fattest(&self) -> Option<Flow> {
        self.orders.fattest().map(|(_, flow)| flow)
    }

    pub(super) fn another_gives_way(&self, flow: Flow, weight: u16) -> bool {
        let own = self.account(flow, weight).demand(1);
        self.orders.fattest().is_some_and(|(most, other)| other != flow && most > own)
    }

    pub(super) fn standing(&self, flow: Flow) -> Standing {
        let known = self.accounts.get(&flow);
        let own = match known {
            Some(account) if account.counts => account.weight,
            _ => 0,
        };
        match known.is_none_or(|account| account.conforms(self.fair_time)) {
            _ if self.orders.weight <= u64::from(own) => Standing::Alone,
            true => Standing::Within,
            false => Standing::Over,
        }
    }

    /// One round of all flows with queued requests for each of its own, or all that are queued.
    pub(super) fn ahead_of(&self, flow: Flow) -> usize {
        let others = self.orders.flows_queued.saturating_sub(usize::from(self.queued(flow) > 0));
        let rounds = self.queued(flow) as usize + 1;
        (self.orders.queued as usize).min(rounds * others + rounds - 1)
    }

    pub(super) fn time_to_return(&mut self, flow: Flow, per_second: f64) -> Duration {
        let (now, weight) = (self.now, self.orders.weight.max(1) as f64);
        self.edit(flow, None, |account| {
            let share = (f64::from(account.weight) / weight).min(1.0);
            let step = (per_second * share).recip().clamp(1e-9, MAX_WAIT.as_secs_f64());
            let step = Duration::from_secs_f64(step);
            let first = now + step.saturating_mul(account.queued);
            let told = account.told.max(first) + step;
            // Beyond, times are spread from its half on.
            account.told = if told.since(now) > MAX_WAIT { now + MAX_WAIT / 2 } else { told };
            account.told.since(now)
        })
    }

    /// A flow that asks for more than its share must leave the reserved permits.
    pub(super) fn holds(&mut self, flow: Flow, room: Room) -> bool {
        self.expire_reserve();
        room.free < self.reserved + room.units as usize && self.standing(flow) == Standing::Over
    }

    /// A request of a flow that keeps to its share was rejected for want of a permit.
    pub(super) fn reserve(&mut self, room: Room) {
        self.expire_reserve();
        let most = 1 + room.limit / MAX_RESERVED;
        self.reserved = (self.reserved + room.units as usize).min(most);
        self.reserved_until = self.now + RESERVED_FOR;
    }

    fn expire_reserve(&mut self) {
        while self.reserved > 0 && self.now > self.reserved_until {
            self.reserved -= 1;
            self.reserved_until = self.reserved_until + RESERVED_FOR;
        }
    }

    fn account(&self, flow: Flow, weight: u16) -> Account {
        let fresh = || Account::new(0, 0, 0, weight_of(flow, weight));
        self.accounts.get(&flow).copied().unwrap_or_else(fresh)
    }

    /// Changes an account, and what depends on it. `claims`: a request arrives, with this weight; if none is
    /// queued yet, its flow starts at the virtual time or later.
    fn edit<T>(
        &mut self,
        flow: Flow,
        claims: Option<u16>,
        change: impl FnOnce(&mut Account) -> T,
    ) -> T {
        let weight = weight_of(flow, claims.unwrap_or(1));
        let fresh = || Account::new(self.virtual_time, self.fair_time, self.mean, weight);
        let account = self.accounts.entry(flow).or_insert_with(fresh);
        self.orders.take_out(account);
        if let Some(weight) = claims {
            account.weight = weight_of(flow, weight);
            if account.queued == 0 {
                account.finish += self.virtual_time.saturating_sub(account.start(self.now));
            }
        }
        let answer = change(account);
        if !self.orders.put_in(flow, account, self.fair_time, self.now) {
            self.accounts.remove(&flow);
        }
        self.orders.settle(flow, &mut self.accounts, self.now);
        self.orders.forget(&mut self.accounts, self.fair_time, self.now);
        answer
    }
}

/// The newcomers together have the weight of one tenant.
const fn weight_of(flow: Flow, weight: u16) -> u32 {
    match flow {
        Flow::Newcomers(_) => 1,
        _ if weight == 0 => WEIGHT_UNIT,
        _ => weight as u32 * WEIGHT_UNIT,
    }
}

#[cfg(test)]
impl Class {
    /// Units in flight of all flows.
    pub(super) fn in_flight(&self) -> u64 {
        let sum = self.accounts.values().map(|account| u64::from(account.in_flight)).sum();
        assert_eq!(self.orders.in_flight, sum);
        sum
    }

    /// Compares both orders with a search of all flows.
    pub(super) fn assert_orders_are_exact(&mut self) {
        use std::cmp::Reverse;

        let queued = self.accounts.iter().filter(|(_, account)| account.queued > 0);
        let first =
            queued.clone().map(|(&flow, account)| (Reverse(account.start(self.now)), flow)).max();
        let fattest = queued.map(|(&flow, account)| (account.demand(0), flow)).max();
        assert_eq!(self.fattest(), fattest.map(|(_, flow)| flow));
        assert_eq!(self.next(), first.map(|(_, flow)| flow));
        self.orders.assert_bounded();
    }

    pub(super) fn newcomers_hold_nothing(&self) -> bool {
        self.newcomers.is_empty()
    }
}
