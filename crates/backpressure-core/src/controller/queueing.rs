//! The queue: which requests are queued, which give way, and how many of each rank there may be.

use std::time::Duration;

use super::Controller;
use crate::decision::Decision;
use crate::fair_shares::Standing;
use crate::flow::Flow;
use crate::hold::Hold;
use crate::limit::{Limit, MAX};
use crate::priority::Priority;
use crate::queue::{Position, QueueEntry, Ticket};
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

/// So many are queued whatever the throughput: it may have been measured at a limit that is too low.
const MIN_QUEUED_IN_TIME: usize = 1_024;
/// The mean cost is as old as this many requests, about as old as the throughput that it goes with.
pub(super) const MEAN_COST_REQUESTS: u32 = 512;

impl Controller {
    /// Counts a request of this rank that arrives.
    pub(super) fn record_arrival(
        &mut self,
        rank: Rank,
        info: &RequestInfo,
        in_flight: usize,
        now: Timestamp,
    ) {
        self.observe_releases(in_flight, now);
        self.cost.add(f64::from(info.cost.max(1)));
        if info.returning {
            self.schedule.returned(now);
        } else {
            self.schedule.arrived(1, now);
        }
        self.demand_mix.record(rank);
        self.priority_hold.arrived(rank);
        self.priority_hold.expire(now);
    }

    /// Decides on a request that cannot run now, or must leave a free permit to a higher rank. One that its
    /// priority is owed goes before all others, unless its tenant asks for too much already.
    pub(super) fn queue_or_reject_by_share(
        &mut self,
        info: RequestInfo,
        hold: Hold,
        is_held: bool,
        in_flight: usize,
        now: Timestamp,
    ) -> Decision {
        if self.is_over_share(hold) || !self.shares.take(info.priority) {
            let decision = self.queue_or_reject(info, hold, self.rank_of(&info), is_held, now);
            if matches!(decision, Decision::Reject(shed) if shed.reason == Reason::Limit) {
                self.lacks_permit(hold, in_flight, now);
            }
            return decision;
        }
        if self.can_run(hold, in_flight) {
            return Decision::Run;
        }
        let promoted = info.priority(Priority::Critical).returning(true);
        let decision = self.queue_or_reject(info, hold, Rank::of(&promoted), false, now);
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
        hold: Hold,
        rank: Rank,
        is_held: bool,
        now: Timestamp,
    ) -> Decision {
        let position = match self.place_in_queue(&info, hold, rank, is_held, now) {
            Ok(position) => position,
            Err(reason) => {
                if reason != Reason::Deadline {
                    self.hold_ranks_below(rank.index(), now);
                }
                return self.reject(hold, reason, now);
            }
        };
        let max_wait = match info.returning {
            true => self.max_wait_of_returning(self.queue.ahead_of(rank.index())),
            false => self.max_wait(),
        };
        let entry = self.queue_entry(info, hold, now + max_wait, now);
        self.enqueue(position, entry, now)
    }

    /// Where a request would be queued, or why it would be rejected.
    fn place_in_queue(
        &self,
        info: &RequestInfo,
        hold: Hold,
        rank: Rank,
        is_held: bool,
        now: Timestamp,
    ) -> Result<Position, Reason> {
        let max_len = self.queue_len_of(rank.index(), hold).min(self.queued_in_time());
        if max_len == 0 {
            return Err(Reason::Limit);
        }
        if !self.can_meet_deadline(rank, hold, info.deadline, now) {
            return Err(Reason::Deadline);
        }
        let position = self.position(info, hold, rank, self.level(info, now));
        let is_full = self.queue.ahead_of(rank.index()) >= max_len
            && !self.another_gives_way(&position, hold);
        if is_full || is_held { Err(Reason::QueueFull) } else { Ok(position) }
    }

    /// Whether a request that arrives now is rejected. It asks only: nothing is counted, reserved or displaced.
    /// Shares of priorities and of tenants are left out: a request that one of them lets in counts as rejected.
    ///
    /// ```
    /// use backpressure_core::{Controller, Fixed, QueueBounds, RequestInfo, Timestamp};
    ///
    /// let (info, now) = (RequestInfo::default(), Timestamp::ZERO);
    /// let controller = Controller::new(Box::new(Fixed::new(2)), QueueBounds::NONE);
    /// assert!(!controller.would_reject(&info, 1, now));
    /// assert!(controller.would_reject(&info, 2, now));
    /// ```
    #[must_use]
    pub fn would_reject(&self, info: &RequestInfo, in_flight: usize, now: Timestamp) -> bool {
        if self.shed_by_mode().is_some() || info.deadline.is_some_and(|deadline| deadline <= now) {
            return true;
        }
        let hold = Hold { units: info.cost.clamp(1, MAX as u32), ..Hold::ONE };
        let rank = self.rank_of(info);
        let is_held = self.priority_hold.holds(rank, now);
        let runs = self.can_run(hold, in_flight) && !is_held;
        !runs && self.place_in_queue(info, hold, rank, is_held, now).is_err()
    }

    /// Where a request stands in the queue. A rank that its tenants do not share has one flow.
    pub(super) fn position(
        &self,
        info: &RequestInfo,
        hold: Hold,
        rank: Rank,
        level: Level,
    ) -> Position {
        let share = hold.share.filter(|_| !rank.is_returning());
        let returning = info.returning && share.is_some();
        Position { rank, flow: share.map_or(Flow::Anonymous, |it| it.flow), returning, level }
    }

    /// Whether another request of the same rank gives way: one of the tenant that asks for most, or of the same
    /// tenant where that is its own. A lower rank gives way in any case.
    fn another_gives_way(&self, position: &Position, hold: Hold) -> bool {
        let rank = position.rank.index();
        if self.queue.lowest() != Some(rank) {
            return false;
        }
        let share = hold.share.filter(|_| !position.rank.is_returning());
        if share.is_some_and(|share| self.tenants.another_gives_way(share, hold.weight)) {
            return true;
        }
        let first = self.queue.first_to_give_way(rank, position.flow);
        first.is_some_and(|(ticket, _)| {
            ticket.level() < position.level || self.serves_newest_first(rank)
        })
    }

    /// The level of a request. Only under overload is there a cut to place.
    fn level(&self, info: &RequestInfo, now: Timestamp) -> Level {
        match info.task {
            Some(task) if self.overload.is_overloaded() => Level::of(task, now),
            _ => Level::HIGHEST,
        }
    }

    /// Holds the ranks below this one until a request of it that is rejected now would have run.
    pub(super) fn hold_ranks_below(&mut self, rank: usize, now: Timestamp) {
        let wait = self.time_for_responses(self.queue.ahead_of(rank) + 1);
        self.priority_hold.hold_below(rank, now + wait.min(MAX_PRIORITY_HOLD));
    }

    /// The time in which this many requests of usual cost are finished; zero as long as nothing was measured.
    fn time_for_responses(&self, count: usize) -> Duration {
        let units = count as f64 * self.cost.mean();
        let seconds = self.responses_per_second().map_or(0.0, |rate| units / rate);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The request that runs next: of the highest rank and the tenant whose turn it is the oldest, or the newest
    /// where most are queued in vain.
    pub(super) fn first_to_run(&mut self, now: Timestamp) -> Option<(Ticket, QueueEntry)> {
        let rank = self.queue.highest()?;
        let flow = self.flow_to_run(rank, now);
        let first = match self.serves_newest_first(rank) {
            true => self.queue.newest(rank, flow),
            false => self.queue.oldest(rank, flow),
        };
        first.map(|(ticket, entry)| (ticket, *entry))
    }

    /// The request of a rank that gives way first.
    pub(super) fn first_to_give_way(&self, rank: usize) -> Option<(Ticket, QueueEntry)> {
        let first = self.queue.first_to_give_way(rank, self.flow_to_give_way(rank));
        first.map(|(ticket, entry)| (ticket, *entry))
    }

    pub(super) fn queue_entry(
        &self,
        info: RequestInfo,
        hold: Hold,
        timeout: Timestamp,
        now: Timestamp,
    ) -> QueueEntry {
        let (expires_at, expiry_reason) = match info.deadline {
            Some(deadline) if deadline < timeout => (deadline, Reason::Deadline),
            _ => (timeout, Reason::QueueTimeout),
        };
        QueueEntry { queued_at: now, expires_at, expiry_reason, hold }
    }

    /// Whether the response is likely to come before the deadline.
    fn can_meet_deadline(
        &self,
        rank: Rank,
        hold: Hold,
        deadline: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let wait = self.time_for_responses(self.ahead_of(rank, hold) + 1);
        let response_at = now + self.latency.mean().mul_f64(MEDIAN_OVER_MEAN) + wait;
        deadline.is_none_or(|deadline| response_at <= deadline)
    }

    /// Removes a request that is queued in vain or for which there is no room any more. It is always the
    /// oldest of the lowest level in the lowest rank that is queued, and of the tenant that asks for most.
    pub(super) fn displace(&mut self, now: Timestamp) -> Option<(Ticket, Hold)> {
        let lowest = self.queue.lowest()?;
        let is_calm = !self.overload.is_overloaded() && !self.limit.is_in_vain();
        if is_calm && !self.is_over_bound() {
            return None;
        }
        let (ticket, entry) = self.first_to_give_way(lowest)?;
        let max_len = self.queue_len_of(lowest, entry.hold).max(self.kept());
        let waits_in_vain = || {
            self.standing(entry.hold) != Standing::Within
                && self.is_outrun(lowest, entry.queued_at, now)
        };
        if self.queue.len() <= max_len && !waits_in_vain() {
            return None;
        }
        self.take(ticket);
        self.hold_ranks_below(lowest, now);
        Some((ticket, entry.hold))
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
        self.bounds.adapts && !self.rejects_before && self.is_far_above_capacity(rank)
    }

    /// Whether demand of this rank and those above it is so high that most of a queue would never be served.
    fn is_far_above_capacity(&self, rank: usize) -> bool {
        let share = self.demand_mix.share_from(rank);
        self.limit.is_in_vain() || self.overload.is_far_above_capacity(share)
    }

    /// Whether more are queued than may be at any time.
    pub(super) fn is_over_bound(&mut self) -> bool {
        self.queue.len() > self.max_len().max(self.kept())
    }

    /// How many queued requests run before the last of them has been queued for as long as it may be. Those that are
    /// queued stay where this falls: it is an estimate.
    fn queued_in_time(&self) -> usize {
        if !self.bounds.adapts {
            return usize::MAX;
        }
        let least = MIN_QUEUED_IN_TIME.max(self.owed());
        if self.queue.len() < least {
            return least;
        }
        let rate = self.releases_per_second().unwrap_or(0.0);
        let in_time = rate * self.bounds.max_wait.as_secs_f64() / self.cost.mean();
        (in_time as usize).max(least)
    }

    /// How many of this rank and of those above it may be queued. Never less for a higher rank.
    pub(super) fn queue_len_for(&self, rank: usize) -> usize {
        let is_bounded = self.bounds.adapts && self.bounds.max_len > 0;
        if !is_bounded || !self.overload.is_overloaded() || !self.limit_protects {
            return self.max_len();
        }
        let limit = self.limit();
        let to_stay_busy = match self.overload.queue_len(limit, self.demand_mix.share_from(rank)) {
            usize::MAX => usize::MAX,
            len => len.min(limit.max(MAX_QUEUE_OF_SMALL_LIMIT)),
        };
        // Old requests cost nothing where the newest runs first, and fill the next gap between arrivals. Where others
        // are rejected before they come here, these are all that there are for it.
        let reserve = if self.is_far_above_capacity(LOWEST_RANK) { (limit / 2).max(1) } else { 0 };
        self.bounds.max_len.min(to_stay_busy.max(reserve)).max(self.owed())
    }
}
