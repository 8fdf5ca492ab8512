//! What a request holds, and whose share it is: tenants within a priority, and units of the limit.

use std::time::Duration;

use super::Controller;
use crate::decision::Decision;
use crate::fair_shares::{Room, Standing};
use crate::flow::Flow;
use crate::hold::Hold;
use crate::limit::MAX;
use crate::queue::{Position, QueueEntry, Ticket};
use crate::rank::Rank;
use crate::request_info::RequestInfo;
use crate::shed::{Reason, Shed};
use crate::time::Timestamp;

impl Controller {
    /// What the request holds that was admitted last: by [`arrive`](Self::arrive) or by [`next`](Self::next).
    #[must_use]
    pub const fn hold(&self) -> Hold {
        self.admitted
    }

    /// A request has returned what it held. Of a [plain](Hold::is_plain) hold this needs not be told.
    pub fn release(&mut self, hold: Hold, now: Timestamp) {
        if let Some(share) = hold.share {
            self.tenants.released(share, &hold, now);
        }
    }

    /// What a request is going to hold. Its units may be more than the limit, until it is admitted.
    pub(super) fn hold_for(&mut self, info: &RequestInfo, now: Timestamp) -> Hold {
        let share = self.tenants.share_of(info, now);
        let units = info.cost.clamp(1, MAX as u32);
        Hold { units, share, tenant: info.tenant, weight: info.weight, since: now }
    }

    /// The rank of a request. Where tenants share, those that come back when told pass others of their tenant only.
    pub(super) fn rank_of(&self, info: &RequestInfo) -> Rank {
        if self.tenants.are_kept() { Rank::shared(info) } else { Rank::of(info) }
    }

    /// A request is admitted on arrival.
    pub(super) fn admit(&mut self, hold: Hold, now: Timestamp) {
        self.early_leavers.admitted(Duration::ZERO);
        let mut hold = self.at_most_limit(hold, now);
        hold.share = hold.share.map(|share| self.tenants.admitted(share, &hold, now));
        self.releases.admitted(hold.units);
        self.admitted = hold;
    }

    /// Removes a queued request that is admitted.
    pub(super) fn admit_queued(&mut self, ticket: Ticket, hold: Hold, now: Timestamp) {
        self.queue.remove(ticket);
        self.early_leavers.admitted(now.since(hold.since));
        let mut hold = self.at_most_limit(hold, now);
        hold.share = hold.share.map(|own| match ticket.share() {
            Some(share) => self.tenants.dispatched(share, &hold, now),
            None => self.tenants.admitted(own, &hold, now),
        });
        self.releases.admitted(hold.units);
        self.admitted = hold;
    }

    /// A request that costs more than the limit runs alone.
    fn at_most_limit(&self, hold: Hold, now: Timestamp) -> Hold {
        Hold { units: self.units(hold) as u32, since: now, ..hold }
    }

    /// The units that a request takes at the present limit.
    pub(super) fn units(&self, hold: Hold) -> usize {
        hold.units().min(self.limit())
    }

    /// Queues a request.
    pub(super) fn enqueue(
        &mut self,
        position: Position,
        entry: QueueEntry,
        now: Timestamp,
    ) -> Decision {
        let ticket = self.queue.push(position, entry);
        if let (Some(share), Some(_)) = (ticket.share(), entry.hold.share) {
            self.tenants.queued(share, entry.hold.weight, now);
        }
        Decision::Queue(ticket, entry.expires_at)
    }

    /// Removes a request that is not admitted.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<QueueEntry> {
        let entry = self.queue.remove(ticket)?;
        if let (Some(share), Some(_)) = (ticket.share(), entry.hold.share) {
            self.tenants.dequeued(share);
        }
        Some(entry)
    }

    /// The flow that runs next of a rank.
    pub(super) fn flow_to_run(&mut self, rank: usize, now: Timestamp) -> Flow {
        let next = Rank::shared_priority(rank).and_then(|it| self.tenants.next(it, now));
        next.or_else(|| self.queue.any_flow(rank)).unwrap_or(Flow::Anonymous)
    }

    /// The flow that gives way in a rank.
    pub(super) fn flow_to_give_way(&self, rank: usize) -> Flow {
        let fattest = Rank::shared_priority(rank).and_then(|it| self.tenants.fattest(it));
        fattest.or_else(|| self.queue.any_flow(rank)).unwrap_or(Flow::Anonymous)
    }

    /// Whether a request has to leave the permits that are free to tenants that hold less. Where there is a queue
    /// they wait there, and go first.
    pub(super) fn must_leave_permits(
        &mut self,
        hold: Hold,
        in_flight: usize,
        now: Timestamp,
    ) -> bool {
        let room = self.room(hold, in_flight);
        let share = hold.share.filter(|_| self.bounds.max_len == 0);
        share.is_some_and(|share| self.tenants.holds(share, room, now))
    }

    /// A request was rejected for want of a permit, where there is no queue.
    pub(super) fn lacks_permit(&mut self, hold: Hold, in_flight: usize, now: Timestamp) {
        let room = self.room(hold, in_flight);
        if let Some(share) = hold.share {
            self.tenants.reserve(share, room, now);
        }
    }

    /// Counts a request that is not admitted at once towards what its tenant asks for.
    pub(super) fn ask(&mut self, hold: Hold, now: Timestamp) {
        if let Some(share) = hold.share {
            self.tenants.asked(share, hold.weight, hold.units, now);
        }
    }

    fn room(&self, hold: Hold, in_flight: usize) -> Room {
        let (limit, units) = (self.limit(), self.units(hold) as u32);
        Room { limit, free: limit.saturating_sub(in_flight), units }
    }

    /// Whether the tenant of a request asks for more than its share while others ask as well.
    pub(super) fn is_over_share(&self, hold: Hold) -> bool {
        self.standing(hold) == Standing::Over
    }

    pub(super) fn standing(&self, hold: Hold) -> Standing {
        hold.share.map_or(Standing::Alone, |share| self.tenants.standing(share))
    }

    /// How many of this rank and above may be queued, for a request that holds this. The overload of a priority is
    /// that of tenants that ask for more than their share: the others have all of the queue.
    pub(super) fn queue_len_of(&self, rank: usize, hold: Hold) -> usize {
        match self.standing(hold) {
            Standing::Within => self.max_len(),
            Standing::Over | Standing::Alone => self.queue_len_for(rank),
        }
    }

    /// Rejects a request. Where its tenant asks for too much that is the reason, and it waits behind what its own
    /// tenant was told.
    pub(super) fn shed_of(&mut self, hold: Hold, reason: Reason, now: Timestamp) -> Shed {
        match hold.share {
            Some(share) if reason == Reason::TenantShare || self.is_over_share(hold) => {
                let per_second = self.requests_per_second().unwrap_or(1.0);
                let turn = self.tenants.time_to_return(share, per_second, now);
                Shed { reason: Reason::TenantShare, retry_after: self.after_stall(turn, now) }
            }
            _ => self.shed(reason, hold.units, now),
        }
    }

    /// How many run before a new request of this rank: where tenants share, not all that are queued.
    pub(super) fn ahead_of(&self, rank: Rank, hold: Hold) -> usize {
        let all = self.queue.ahead_of(rank.index());
        match hold.share {
            Some(share) if !rank.is_returning() => {
                let above = self.queue.ahead_of(rank.index() + 1);
                all.min(above + self.tenants.ahead_of(share))
            }
            _ => all,
        }
    }
}
