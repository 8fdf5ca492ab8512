//! The queue: which requests are queued, which give way, and how many of each rank there may be.

use std::time::Duration;

use super::Controller;
use crate::decision::Decision;
use crate::limit::Limit;
use crate::priority::Priority;
use crate::queue::{QueueEntry, Ticket};
use crate::rank::{Level, Rank};
use crate::request_info::RequestInfo;
use crate::shed::Reason;
use crate::time::Timestamp;

/// Median latency over mean latency, where latencies are exponential (ln 2): a deadline after the median is
/// met as often as not. At 1 requests would be rejected that meet it in up to 63 of 100 cases.
const MEDIAN_OVER_MEAN: f64 = 0.7;
/// Under overload no more are queued than run, or this many where fewer run. Longer, and a queue would last
/// for more than a latency; shorter, and a few servers close to their capacity would be idle at times.
const MAX_QUEUE_OF_SMALL_LIMIT: usize = 32;
/// The index of the lowest rank: all of the demand is of this rank or above.
pub(super) const LOWEST_RANK: usize = 0;
/// The longest time for which one rejection holds lower ranks: as long as a request is queued by default.
/// It matters for work that takes seconds.
const MAX_PRIORITY_HOLD: Duration = Duration::from_secs(1);

impl Controller {
    /// Counts a request of this rank that arrives.
    pub(super) fn record_arrival(&mut self, rank: Rank, in_flight: usize, now: Timestamp) {
        self.observe_releases(in_flight, now);
        if rank.is_returning() {
            self.schedule.returned(now);
        } else {
            self.schedule.arrived(1, now);
        }
        self.demand_mix.record(rank);
        self.priority_hold.arrived(rank);
        self.priority_hold.expire(now);
    }

    /// Decides on a request that cannot run now, or must leave a free permit to a higher rank. One that its
    /// priority is owed goes before all others.
    pub(super) fn queue_or_reject_by_share(
        &mut self,
        info: RequestInfo,
        is_held: bool,
        in_flight: usize,
        now: Timestamp,
    ) -> Decision {
        if !self.shares.take(info.priority) {
            return self.queue_or_reject(info, is_held, now);
        }
        if self.can_run(in_flight) {
            return Decision::Run;
        }
        let promoted =
            RequestInfo { tenant: None, ..info.priority(Priority::Critical).returning(true) };
        let decision = self.queue_or_reject(promoted, false, now);
        if matches!(decision, Decision::Reject(_)) {
            self.shares.give_back(info.priority);
        }
        decision
    }

    /// Decides on a request that cannot run now.
    ///
    /// No rank is rejected while a lower one is queued or admitted. Requests of lower ranks do not
    /// count towards the queue of a higher one; they give way to it. After a rejection they are held until
    /// the rejected request would have run.
    pub(super) fn queue_or_reject(
        &mut self,
        info: RequestInfo,
        is_held: bool,
        now: Timestamp,
    ) -> Decision {
        let rank = Rank::of(&info);
        let max_len = self.queue_len_for(rank.index());
        if max_len == 0 {
            self.hold_ranks_below(rank.index(), now);
            return self.reject(Reason::Limit, now);
        }
        if !self.can_meet_deadline(rank, info.deadline, now) {
            return self.reject(Reason::Deadline, now);
        }
        let level = self.level(&info, now);
        let is_full =
            self.queue.ahead_of(rank.index()) >= max_len && !self.another_gives_way(rank, level);
        if is_full || is_held {
            self.hold_ranks_below(rank.index(), now);
            return self.reject(Reason::QueueFull, now);
        }
        let entry = self.queue_entry(info, now);
        Decision::Queue(self.queue.push(rank, level, entry), entry.expires_at)
    }

    /// Whether another request of the same rank gives way. A lower rank gives way in any case.
    fn another_gives_way(&self, rank: Rank, level: Level) -> bool {
        let first = self.queue.first_to_give_way(rank.index());
        let is_lower = first.is_some_and(|(ticket, _)| ticket.level() < level);
        self.queue.lowest() == Some(rank.index())
            && (is_lower || self.serves_newest_first(rank.index()))
    }

    /// The level of a request within its rank. Only under overload is there a cut to place.
    fn level(&self, info: &RequestInfo, now: Timestamp) -> Level {
        match info.tenant {
            Some(tenant) if self.overload.is_overloaded() => Level::of(tenant, now),
            _ => Level::HIGHEST,
        }
    }

    /// Holds the ranks below this one until a request of it that is rejected now would have run.
    pub(super) fn hold_ranks_below(&mut self, rank: usize, now: Timestamp) {
        let wait = self.time_for_responses(self.queue.ahead_of(rank) + 1);
        self.priority_hold.hold_below(rank, now + wait.min(MAX_PRIORITY_HOLD));
    }

    /// The time in which this many requests are finished; zero as long as nothing was measured.
    fn time_for_responses(&self, count: usize) -> Duration {
        let seconds = self.responses_per_second().map_or(0.0, |rate| count as f64 / rate);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Removes the request that runs next: of the highest rank the oldest, or the newest where most are
    /// queued in vain.
    pub(super) fn dequeue(&mut self) -> Option<(Ticket, QueueEntry)> {
        let rank = self.queue.highest()?;
        match self.serves_newest_first(rank) {
            true => self.queue.pop_newest(rank),
            false => self.queue.pop_oldest(rank),
        }
    }

    fn queue_entry(&self, info: RequestInfo, now: Timestamp) -> QueueEntry {
        let timeout = now + self.bounds.max_wait;
        let (expires_at, expiry_reason) = match info.deadline {
            Some(deadline) if deadline < timeout => (deadline, Reason::Deadline),
            _ => (timeout, Reason::QueueTimeout),
        };
        QueueEntry { queued_at: now, expires_at, expiry_reason }
    }

    /// Whether the response is likely to come before the deadline.
    fn can_meet_deadline(&self, rank: Rank, deadline: Option<Timestamp>, now: Timestamp) -> bool {
        let wait = self.time_for_responses(self.queue.ahead_of(rank.index()) + 1);
        let response_at = now + self.latency.mean().mul_f64(MEDIAN_OVER_MEAN) + wait;
        deadline.is_none_or(|deadline| response_at <= deadline)
    }

    /// Removes a request that is queued in vain or for which there is no room any more. It is always the
    /// oldest of the lowest level in the lowest rank that is queued.
    pub(super) fn displace(&mut self, now: Timestamp) -> Option<Ticket> {
        let lowest = self.queue.lowest()?;
        let too_many = self.queue.len() > self.queue_len_for(lowest).max(self.kept_by_pause());
        let (ticket, entry) = self.queue.first_to_give_way(lowest)?;
        if !too_many && !self.is_outrun(lowest, entry.queued_at, now) {
            return None;
        }
        self.queue.remove(ticket);
        self.hold_ranks_below(lowest, now);
        Some(ticket)
    }

    /// Whether a request of this rank has been queued for so long that newer ones will run before it.
    ///
    /// Only where requests are queued for workers: with a queue behind an await, the oldest are the reserve
    /// for the next gap between arrivals. Nor before it was queued for as long as its work takes: that
    /// delays the response little.
    fn is_outrun(&self, rank: usize, queued_at: Timestamp, now: Timestamp) -> bool {
        let queues_for_workers = self.limit.yields() && !self.latency.busy().is_zero();
        if !self.serves_newest_first(rank) || !self.limit_protects || !queues_for_workers {
            return false;
        }
        let secs_per_response = self.latency.mean().div_f64(self.limit() as f64);
        let responses = self.overload.responses_until_outrun(self.demand_mix.share_from(rank));
        let max_wait = secs_per_response.mul_f64(responses).max(self.latency.busy());
        now.since(queued_at) > max_wait
    }

    /// Whether the newest request of this rank runs first, as most are queued in vain.
    fn serves_newest_first(&self, rank: usize) -> bool {
        self.bounds.adapts && self.overload.serves_newest_first(self.demand_mix.share_from(rank))
    }

    /// How many of this rank and of those above it may be queued. Never less for a higher rank.
    pub(super) fn queue_len_for(&self, rank: usize) -> usize {
        if !self.bounds.adapts || !self.overload.is_overloaded() || !self.limit_protects {
            return self.bounds.max_len;
        }
        let limit = self.limit();
        let to_stay_busy = match self.overload.queue_len(limit, self.demand_mix.share_from(rank)) {
            usize::MAX => usize::MAX,
            len => len.min(limit.max(MAX_QUEUE_OF_SMALL_LIMIT)),
        };
        // Old requests cost nothing where the newest runs first, and fill the next gap between arrivals.
        let reserve = if self.serves_newest_first(LOWEST_RANK) { (limit / 2).max(1) } else { 0 };
        self.bounds.max_len.min(to_stay_busy.max(reserve))
    }
}
