//! What is known of one flow: what it holds, what it has queued, and what it has used.

use super::newcomers::Held;
use crate::time::Timestamp;

/// Permit-time over weight: nanoseconds times 2¹⁶, so that a division by a weight loses nothing.
pub(super) type VirtualTime = u128;

/// The place of a flow that is in no order of virtual times.
pub(super) const NOWHERE: VirtualTime = VirtualTime::MAX;

/// See [`Account::demand`].
pub(super) type Demand = (bool, u64);

const SHIFT: u32 = 16;
/// A mean is as old as this many requests: a tenant that changes its kind of requests is known anew after a few
/// of them.
const MEAN_REQUESTS: u64 = 8;

/// Requests that a flow may ask for at once, beyond the pace of its share. With half as many, tenants whose requests
/// come at random at their share are refused in vain; with twice as many, a tenant that sends too much is known
/// only after that many.
const MAX_BURST: u64 = 16;

/// One flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    /// The virtual time at which it became active, and the permit-time that its requests have used since, over
    /// its weight.
    pub(super) finish: VirtualTime,
    /// The fair time at which all that it has asked for so far is done at the pace of its share. What it asks for
    /// while that is far off does not count.
    pub(super) asked: VirtualTime,
    /// Where it stands in the order of the queue: where its next request starts, or started before.
    pub(super) place: VirtualTime,
    /// Where it stands in the order of those that give way: its demand, or more.
    pub(super) demand_place: Option<Demand>,
    /// Where it stands in the order of idle flows: [`asked`](Self::asked) as it was, or before.
    pub(super) idle_place: VirtualTime,
    /// Whether its weight counts.
    pub(super) counts: bool,
    /// Sum of the times at which the units in flight were taken, in nanoseconds.
    since: u128,
    /// Mean permit-time of a unit, in nanoseconds.
    mean: u64,
    /// Until when rejected requests were told to stay away.
    pub(super) told: Timestamp,
    /// Units in flight.
    pub(super) in_flight: u32,
    /// Requests in the queue.
    pub(super) queued: u32,
    pub(super) weight: u32,
}

impl Account {
    pub(super) const fn new(
        finish: VirtualTime,
        asked: VirtualTime,
        mean: u64,
        weight: u32,
    ) -> Self {
        Self {
            finish,
            asked,
            place: NOWHERE,
            demand_place: None,
            idle_place: NOWHERE,
            counts: false,
            since: 0,
            mean,
            told: Timestamp::ZERO,
            in_flight: 0,
            queued: 0,
            weight,
        }
    }

    /// Whether it holds or wants a permit.
    pub(super) const fn is_active(&self) -> bool {
        self.in_flight > 0 || self.queued > 0
    }

    /// Where the next request of this flow starts: what was used, what the requests in flight have used so
    /// far, or will use by the mean.
    pub(super) fn start(&self, now: Timestamp) -> VirtualTime {
        let units = u128::from(self.in_flight);
        let used = (units * u128::from(now.as_nanos())).saturating_sub(self.since);
        self.finish + self.per_weight(used.max(units * u128::from(self.mean)))
    }

    /// How far it has to give way, with this many more in the queue: a flow that has one request there or none
    /// gives way last, or it would lose its turn; the others by what they have in flight and queued, over their
    /// weight.
    pub(super) const fn demand(&self, more: u32) -> Demand {
        let queued = self.queued + more;
        let total = self.in_flight as u64 + queued as u64;
        (queued > 1, (total << SHIFT) / self.weight as u64)
    }

    /// Asks for this many units; nothing happens if it has asked for too much already.
    pub(super) fn ask(&mut self, units: u32, fair_time: VirtualTime) {
        if self.conforms(fair_time) {
            let units = self.per_weight(u128::from(units) * u128::from(self.mean));
            self.asked = self.asked.max(fair_time) + units;
        }
    }

    /// Whether all that it has asked for would be done soon at the pace of its share.
    pub(super) const fn conforms(&self, fair_time: VirtualTime) -> bool {
        let burst = self.per_weight((MAX_BURST * self.mean) as u128);
        self.asked <= fair_time + burst
    }

    pub(super) fn admit(&mut self, units: u32, now: Timestamp) {
        self.in_flight += units;
        self.since += u128::from(units) * u128::from(now.as_nanos());
    }

    /// Returns units that were taken at `since`.
    pub(super) fn release(&mut self, units: u32, since: Timestamp, now: Timestamp) {
        let units = units.min(self.in_flight);
        self.in_flight -= units;
        self.since = self.since.saturating_sub(u128::from(units) * u128::from(since.as_nanos()));
        let held = now.as_nanos().saturating_sub(since.as_nanos());
        let used = self.per_weight(u128::from(units) * u128::from(held));
        self.finish += used;
        // The request was charged the mean; this is what it has really used.
        let expected = self.per_weight(u128::from(units) * u128::from(self.mean));
        self.asked = (self.asked + used).saturating_sub(expected);
        self.mean = (self.mean * (MEAN_REQUESTS - 1)).saturating_add(held) / MEAN_REQUESTS;
    }

    /// Units in flight become those of another flow. What they have used so far stays charged, so that its next
    /// request starts no earlier.
    pub(super) fn hand_over(&mut self, held: Held, now: Timestamp) {
        let start = self.start(now);
        self.in_flight = self.in_flight.saturating_sub(held.units);
        self.since = self.since.saturating_sub(held.since);
        self.finish += start.saturating_sub(self.start(now));
    }

    /// A queued request runs that another flow pays for.
    pub(super) fn spend_turn(&mut self, units: u32) {
        self.queued = self.queued.saturating_sub(1);
        self.finish += self.per_weight(u128::from(units) * u128::from(self.mean));
    }

    /// Units in flight come from another flow: the same as if it had asked for them now.
    pub(super) fn take_over(&mut self, held: Held, fair_time: VirtualTime) {
        self.ask(held.units, fair_time);
        self.in_flight += held.units;
        self.since += held.since;
    }

    pub(super) const fn mean(&self) -> u64 {
        self.mean
    }

    const fn per_weight(&self, nanos: u128) -> VirtualTime {
        per_weight(nanos, self.weight as u64)
    }
}

pub(super) const fn per_weight(nanos: u128, weight: u64) -> VirtualTime {
    // A division of 128 bits takes several times as long, and is needed beyond 39 hours of permit-time only.
    match nanos >> (u64::BITS - SHIFT) {
        0 => (((nanos as u64) << SHIFT) / weight) as VirtualTime,
        _ => (nanos << SHIFT) / weight as u128,
    }
}
