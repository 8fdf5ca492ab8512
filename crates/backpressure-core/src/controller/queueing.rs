//! The queue: which requests wait, which give way, and how many of each rank there may be.

use std::time::Duration;

use super::Controller;
use crate::decision::Decision;
use crate::limit::Limit;
use crate::queue::{Patience, Ticket};
use crate::rank::Rank;
use crate::request_info::RequestInfo;
use crate::shed::Reason;
use crate::time::Timestamp;

/// As many latencies are shorter than this share of the mean as are longer, where they are
/// exponential.
const MEDIAN: f64 = 0.7;
/// Under overload no more wait than run, or this many where few run.
const LEAST_ROOM: usize = 32;
/// The lowest rank: all of the demand is of this rank or above.
pub(super) const LOWEST: usize = 0;
/// The longest time for which one refusal holds lower classes back. It matters for work that takes
/// seconds: no longer than a request may wait by default.
const LONGEST_HOLD_BACK: Duration = Duration::from_secs(1);

impl Controller {
    /// Counts a request of this rank that asks.
    pub(super) fn asked(&mut self, rank: Rank, in_flight: usize, now: Timestamp) {
        self.releases.visit(in_flight, self.limit(), self.open() == 0, now);
        if rank.is_returning() {
            self.schedule.returned(now);
        } else {
            self.schedule.arrived(1, now);
        }
        self.mix.arrived(rank);
        self.held_back.arrived(rank);
        self.held_back.expire(now);
    }

    /// Finds a request that cannot run now a place in the queue.
    ///
    /// No class is refused while a lower one waits or is admitted: requests of lower ranks do not
    /// count towards the room of a higher one, they give way to it, and after a refusal they are
    /// held back until the refused request would have had its turn.
    pub(super) fn seat(&mut self, info: RequestInfo, held_back: bool, now: Timestamp) -> Decision {
        let rank = Rank::of(&info);
        let room = self.room(rank.index());
        if room == 0 {
            self.hold_back_below(rank.index(), now);
            return self.refuse(Reason::Limit, now);
        }
        if !self.is_feasible(rank, info.deadline, now) {
            return self.refuse(Reason::Deadline, now);
        }
        let full = self.queue.ahead_of(rank.index()) >= room && !self.oldest_gives_way(rank);
        if full || held_back {
            self.hold_back_below(rank.index(), now);
            return self.refuse(Reason::QueueFull, now);
        }
        let patience = self.patience(info, now);
        Decision::Queue(self.queue.push(rank, patience), patience.until)
    }

    /// Whether the oldest of the same rank gives way, as where waiting is mostly in vain. A lower
    /// rank that waits gives way in any case.
    fn oldest_gives_way(&self, rank: Rank) -> bool {
        self.queue.lowest() == Some(rank.index()) && self.is_hopeless(rank.index())
    }

    /// A request of the rank with this index was refused for want of room.
    pub(super) fn hold_back_below(&mut self, rank: usize, now: Timestamp) {
        let turns = self.queue.ahead_of(rank) + 1;
        let turn = self.wait_for(turns).min(LONGEST_HOLD_BACK);
        self.held_back.refused(rank, now + turn);
    }

    /// The time in which so many requests are finished; zero as long as nothing was measured.
    fn wait_for(&self, turns: usize) -> Duration {
        let seconds = self.per_second().map_or(0.0, |rate| turns as f64 / rate);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Takes the next to run out of the queue: of the highest rank the oldest, or the newest where
    /// waiting is mostly in vain.
    pub(super) fn pop(&mut self) -> Option<(Ticket, Patience)> {
        let rank = self.queue.highest()?;
        match self.is_hopeless(rank) {
            true => self.queue.pop_newest(rank),
            false => self.queue.pop_oldest(rank),
        }
    }

    fn patience(&self, info: RequestInfo, now: Timestamp) -> Patience {
        let until = now + self.bounds.max_wait;
        let longest = Patience { until, then: Reason::QueueTimeout, since: now };
        match info.deadline {
            Some(until) if until < longest.until => {
                Patience { until, then: Reason::Deadline, ..longest }
            }
            _ => longest,
        }
    }

    /// Whether the answer would come before the caller's deadline, as far as that can be told.
    fn is_feasible(&self, rank: Rank, deadline: Option<Timestamp>, now: Timestamp) -> bool {
        let wait = self.wait_for(self.queue.ahead_of(rank.index()) + 1);
        let answered = now + self.latency.latency.mul_f64(MEDIAN) + wait;
        deadline.is_none_or(|deadline| answered <= deadline)
    }

    /// A request that waits in vain, or for which there is no room any more. Always one of the lowest
    /// rank that waits.
    pub(super) fn victim(&mut self, now: Timestamp) -> Option<Ticket> {
        let lowest = self.queue.lowest()?;
        let too_many = self.queue.len() > self.room(lowest);
        let oldest = self.queue.oldest_since(lowest)?;
        if !too_many && self.fresh_since(lowest, now).is_none_or(|fresh| oldest >= fresh) {
            return None;
        }
        let (ticket, _) = self.queue.pop_oldest(lowest)?;
        self.hold_back_below(lowest, now);
        Some(ticket)
    }

    /// Requests of this rank that came before this wait in vain; `None`: none do, or that is not
    /// known.
    ///
    /// Only where requests wait for workers: behind an await the oldest are the reserve for a lull.
    /// A wait as long as the work itself is never in vain: it hardly makes an answer later.
    fn fresh_since(&self, rank: usize, now: Timestamp) -> Option<Timestamp> {
        let waits_for_workers = self.limit.yields() && !self.latency.busy.is_zero();
        if !self.is_hopeless(rank) || !self.protects || !waits_for_workers {
            return None;
        }
        let turn = self.latency.latency.div_f64(self.limit() as f64);
        let turns = self.overload.turns(self.mix.share_from(rank));
        let longest = turn.mul_f64(turns).max(self.latency.busy);
        Some(Timestamp::ZERO + now.since(Timestamp::ZERO + longest))
    }

    /// Whether most requests of this rank that wait do so in vain.
    fn is_hopeless(&self, rank: usize) -> bool {
        self.overload.is_hopeless(self.mix.share_from(rank))
    }

    /// How many of this rank and of those above it may wait. Never less for a higher rank.
    pub(super) fn room(&self, rank: usize) -> usize {
        if !self.overload.is_overloaded() || !self.protects {
            return self.bounds.max_len;
        }
        let limit = self.limit();
        let busy = match self.overload.room(limit, self.mix.share_from(rank)) {
            usize::MAX => usize::MAX,
            busy => busy.min(limit.max(LEAST_ROOM)),
        };
        // Who waits in vain costs nothing where the newest runs first, and fills the next lull.
        let lull = if self.is_hopeless(LOWEST) { (limit / 2).max(1) } else { 0 };
        self.bounds.max_len.min(busy.max(lull))
    }
}
