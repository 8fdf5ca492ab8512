//! Queued requests, in the order in which they will run.

use std::collections::BTreeMap;

use crate::priority::Priority;
use crate::rank::{Level, RANKS, Rank};
use crate::shed::Reason;
use crate::time::Timestamp;

/// Identifies a request in the queue.
///
/// Only [`Controller::arrive`](crate::Controller::arrive) makes one; no two of a controller are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    // The order of the fields is the order of the queue: rank and level first, then order of arrival.
    rank: Rank,
    level: Level,
    number: u64,
}

impl Ticket {
    /// The index of its rank.
    pub(crate) const fn rank(self) -> usize {
        self.rank.index()
    }

    pub(crate) const fn priority(self) -> Priority {
        self.rank.priority()
    }

    pub(crate) const fn level(self) -> Level {
        self.level
    }
}

/// What is known of a queued request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueEntry {
    pub(crate) queued_at: Timestamp,
    /// The last moment at which it may still run.
    pub(crate) expires_at: Timestamp,
    /// Why it is rejected after that.
    pub(crate) expiry_reason: Reason,
}

/// Queued requests by rank, by level within a rank, and by age within a level.
///
/// One map for each rank, so that the number of requests ahead of a new one is a sum of eight lengths.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Lowest rank first.
    by_rank: [BTreeMap<Ticket, QueueEntry>; RANKS],
    /// Tickets issued so far.
    issued: u64,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.ahead_of(0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_rank.iter().all(BTreeMap::is_empty)
    }

    /// Adds a request.
    pub(crate) fn push(&mut self, rank: Rank, level: Level, entry: QueueEntry) -> Ticket {
        self.issued += 1;
        let ticket = Ticket { rank, level, number: self.issued };
        self.by_rank[rank.index()].insert(ticket, entry);
        ticket
    }

    /// Removes a request; `None` if it is no longer queued.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<QueueEntry> {
        self.by_rank[ticket.rank()].remove(&ticket)
    }

    /// The index of the highest rank that is queued.
    pub(crate) fn highest(&self) -> Option<usize> {
        self.by_rank.iter().rposition(|entries| !entries.is_empty())
    }

    /// The index of the lowest rank that is queued: the one that gives way first.
    pub(crate) fn lowest(&self) -> Option<usize> {
        self.by_rank.iter().position(|entries| !entries.is_empty())
    }

    /// Removes the oldest request of the highest level in a rank.
    pub(crate) fn pop_oldest(&mut self, rank: usize) -> Option<(Ticket, QueueEntry)> {
        let (&newest, _) = self.by_rank[rank].last_key_value()?;
        let first = Ticket { number: 0, ..newest };
        let (&oldest, _) = self.by_rank[rank].range(first..).next()?;
        self.by_rank[rank].remove_entry(&oldest)
    }

    /// Removes the newest request of the highest level in a rank.
    pub(crate) fn pop_newest(&mut self, rank: usize) -> Option<(Ticket, QueueEntry)> {
        self.by_rank[rank].pop_last()
    }

    /// The request of a rank that gives way first: the oldest of its lowest level.
    pub(crate) fn first_to_give_way(&self, rank: usize) -> Option<(Ticket, QueueEntry)> {
        self.by_rank[rank].first_key_value().map(|(&ticket, &entry)| (ticket, entry))
    }

    /// How many would run before a new request of this rank.
    pub(crate) fn ahead_of(&self, rank: usize) -> usize {
        self.by_rank[rank..].iter().map(BTreeMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_info::RequestInfo;

    const ENTRY: QueueEntry = QueueEntry {
        queued_at: Timestamp::ZERO,
        expires_at: Timestamp::from_nanos(u64::MAX),
        expiry_reason: Reason::QueueTimeout,
    };

    fn rank(priority: Priority) -> Rank {
        Rank::of(&RequestInfo::default().priority(priority))
    }

    fn next(queue: &mut Queue) -> Option<Ticket> {
        let highest = queue.highest()?;
        queue.pop_oldest(highest).map(|(ticket, _)| ticket)
    }

    #[test]
    fn the_highest_rank_runs_first_and_the_oldest_within_it() {
        let mut queue = Queue::default();
        let batch = queue.push(rank(Priority::Deferrable), Level::HIGHEST, ENTRY);
        let page = queue.push(rank(Priority::Normal), Level::HIGHEST, ENTRY);
        let again =
            queue.push(Rank::of(&RequestInfo::default().returning(true)), Level::HIGHEST, ENTRY);
        let first = queue.push(rank(Priority::Critical), Level::HIGHEST, ENTRY);
        let second = queue.push(rank(Priority::Critical), Level::HIGHEST, ENTRY);
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(order, [first, second, again, page, batch]);
    }

    #[test]
    fn the_lowest_rank_is_the_first_to_give_way() {
        let mut queue = Queue::default();
        queue.push(rank(Priority::Critical), Level::HIGHEST, ENTRY);
        let old = queue.push(rank(Priority::Sheddable), Level::HIGHEST, ENTRY);
        queue.push(rank(Priority::Sheddable), Level::HIGHEST, ENTRY);
        let lowest = queue.lowest().expect("three are queued");
        assert_eq!(queue.first_to_give_way(lowest).map(|(ticket, _)| ticket), Some(old));
    }

    #[test]
    fn within_a_rank_the_highest_level_runs_first_and_the_lowest_gives_way() {
        let mut queue = Queue::default();
        let normal = rank(Priority::Normal);
        let high = queue.push(normal, Level::HIGHEST, ENTRY);
        let low = queue.push(normal, Level::LOWEST, ENTRY);
        queue.push(normal, Level::LOWEST, ENTRY);
        let newest = queue.push(normal, Level::HIGHEST, ENTRY);
        let rank = normal.index();
        assert_eq!(queue.first_to_give_way(rank).map(|(ticket, _)| ticket), Some(low));
        assert_eq!(queue.pop_newest(rank).map(|(ticket, _)| ticket), Some(newest));
        assert_eq!(queue.pop_oldest(rank).map(|(ticket, _)| ticket), Some(high));
        assert_eq!(queue.pop_oldest(rank).map(|(ticket, _)| ticket), Some(low));
    }

    #[test]
    fn only_its_own_rank_and_higher_ones_are_ahead_of_a_new_request() {
        let mut queue = Queue::default();
        let ranks = [Priority::Sheddable, Priority::Normal, Priority::Critical].map(rank);
        for rank in ranks {
            queue.push(rank, Level::HIGHEST, ENTRY);
        }
        assert_eq!(ranks.map(|rank| queue.ahead_of(rank.index())), [3, 2, 1]);
    }

    #[test]
    fn a_request_is_removed_once() {
        let mut queue = Queue::default();
        let ticket = queue.push(rank(Priority::Normal), Level::HIGHEST, ENTRY);
        assert_eq!(queue.remove(ticket), Some(ENTRY));
        assert_eq!(queue.remove(ticket), None);
        assert!(queue.is_empty());
    }
}
