//! Queued requests, in the order in which they will run.

use std::collections::BTreeMap;

use crate::flow::{Flow, Share};
use crate::hold::Hold;
use crate::priority::Priority;
use crate::rank::{Level, RANKS, Rank};
use crate::shed::Reason;
use crate::time::Timestamp;

/// Identifies a request in the queue.
///
/// Only [`Controller::arrive`](crate::Controller::arrive) makes one; no two of a controller are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    // The order of the fields is the order of the queue within a flow: level first, then order of arrival. Which flow
    // of a rank is next is decided elsewhere.
    flow: Flow,
    /// Whether it comes back when it was told to, where that is no rank of its own.
    returning: bool,
    level: Level,
    number: u64,
    /// Last, as it decides nothing: each rank has a map of its own.
    rank: Rank,
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

    /// The share under which it stands in the queue; `None`: its rank has one flow only.
    pub(crate) const fn share(self) -> Option<Share> {
        if self.rank.is_returning() {
            return None;
        }
        Some(Share { priority: self.rank.priority(), flow: self.flow })
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
    /// What it will hold.
    pub(crate) hold: Hold,
}

/// Where a request is to stand in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) rank: Rank,
    pub(crate) flow: Flow,
    pub(crate) returning: bool,
    pub(crate) level: Level,
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
    pub(crate) fn push(&mut self, position: Position, entry: QueueEntry) -> Ticket {
        self.issued += 1;
        let Position { rank, flow, returning, level } = position;
        let ticket = Ticket { flow, returning, level, number: self.issued, rank };
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

    /// The oldest request of the highest level of a flow.
    pub(crate) fn oldest(&self, rank: usize, flow: Flow) -> Option<(Ticket, &QueueEntry)> {
        let mut newest_first = self.newest_first(rank, flow)?;
        let newest = newest_first.next()?;
        // Most flows have one request in the queue.
        if newest_first.next().is_none() {
            return Some(newest);
        }
        let first = Ticket { number: 0, ..newest.0 };
        let (&first, entry) = match self.by_rank[rank].first_key_value()? {
            of_all if *of_all.0 >= first => of_all,
            _ => self.by_rank[rank].range(first..).next()?,
        };
        Some((first, entry))
    }

    /// The newest request of the highest level of a flow.
    pub(crate) fn newest(&self, rank: usize, flow: Flow) -> Option<(Ticket, &QueueEntry)> {
        self.newest_first(rank, flow)?.next()
    }

    /// The requests of a flow, from the highest level down.
    fn newest_first(
        &self,
        rank: usize,
        flow: Flow,
    ) -> Option<impl Iterator<Item = (Ticket, &QueueEntry)>> {
        let entries = &self.by_rank[rank];
        let (&last, _) = entries.last_key_value()?;
        let until =
            Ticket { returning: true, level: Level::HIGHEST, number: u64::MAX, flow, ..last };
        // Where no tenant is named there is no other flow, and nothing to search.
        let until_flow = match last.flow == flow {
            true => entries.range(..),
            false => entries.range(..=until),
        };
        let own = until_flow.rev().take_while(move |(ticket, _)| ticket.flow == flow);
        Some(own.map(|(&ticket, entry)| (ticket, entry)))
    }

    /// The request of a flow that gives way first: the oldest of its lowest level.
    pub(crate) fn first_to_give_way(
        &self,
        rank: usize,
        flow: Flow,
    ) -> Option<(Ticket, &QueueEntry)> {
        let entries = &self.by_rank[rank];
        let (&any, entry) = entries.first_key_value()?;
        if any.flow == flow {
            return Some((any, entry));
        }
        let first = Ticket { flow, returning: false, level: Level::LOWEST, number: 0, ..any };
        let (&ticket, entry) = entries.range(first..).next()?;
        (ticket.flow == flow).then_some((ticket, entry))
    }

    /// The only flow of a rank, or any other of its flows.
    pub(crate) fn any_flow(&self, rank: usize) -> Option<Flow> {
        self.by_rank[rank].first_key_value().map(|(ticket, _)| ticket.flow)
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
        hold: Hold::ONE,
    };

    fn rank(priority: Priority) -> Rank {
        Rank::of(&RequestInfo::default().priority(priority))
    }

    fn push(queue: &mut Queue, rank: Rank, level: Level) -> Ticket {
        let flow = Flow::Anonymous;
        queue.push(Position { rank, flow, returning: false, level }, ENTRY)
    }

    fn next(queue: &mut Queue) -> Option<Ticket> {
        let highest = queue.highest()?;
        let (ticket, _) = queue.oldest(highest, Flow::Anonymous)?;
        queue.remove(ticket).map(|_| ticket)
    }

    #[test]
    fn the_highest_rank_runs_first_and_the_oldest_within_it() {
        let mut queue = Queue::default();
        let batch = push(&mut queue, rank(Priority::Deferrable), Level::HIGHEST);
        let page = push(&mut queue, rank(Priority::Normal), Level::HIGHEST);
        let again =
            push(&mut queue, Rank::of(&RequestInfo::default().returning(true)), Level::HIGHEST);
        let first = push(&mut queue, rank(Priority::Critical), Level::HIGHEST);
        let second = push(&mut queue, rank(Priority::Critical), Level::HIGHEST);
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(order, [first, second, again, page, batch]);
    }

    #[test]
    fn the_lowest_rank_is_the_first_to_give_way() {
        let mut queue = Queue::default();
        push(&mut queue, rank(Priority::Critical), Level::HIGHEST);
        let old = push(&mut queue, rank(Priority::Sheddable), Level::HIGHEST);
        push(&mut queue, rank(Priority::Sheddable), Level::HIGHEST);
        let lowest = queue.lowest().expect("three are queued");
        assert_eq!(
            queue.first_to_give_way(lowest, Flow::Anonymous).map(|(ticket, _)| ticket),
            Some(old)
        );
    }

    #[test]
    fn within_a_rank_the_highest_level_runs_first_and_the_lowest_gives_way() {
        let mut queue = Queue::default();
        let normal = rank(Priority::Normal);
        let high = push(&mut queue, normal, Level::HIGHEST);
        let low = push(&mut queue, normal, Level::LOWEST);
        push(&mut queue, normal, Level::LOWEST);
        let newest = push(&mut queue, normal, Level::HIGHEST);
        let rank = normal.index();
        assert_eq!(
            queue.first_to_give_way(rank, Flow::Anonymous).map(|(ticket, _)| ticket),
            Some(low)
        );
        let last = queue.newest(rank, Flow::Anonymous).map(|(ticket, _)| ticket);
        assert_eq!(last, Some(newest));
        queue.remove(newest);
        assert_eq!([next(&mut queue), next(&mut queue)], [Some(high), Some(low)]);
    }

    #[test]
    fn only_its_own_rank_and_higher_ones_are_ahead_of_a_new_request() {
        let mut queue = Queue::default();
        let ranks = [Priority::Sheddable, Priority::Normal, Priority::Critical].map(rank);
        for rank in ranks {
            push(&mut queue, rank, Level::HIGHEST);
        }
        assert_eq!(ranks.map(|rank| queue.ahead_of(rank.index())), [3, 2, 1]);
    }

    #[test]
    fn the_requests_of_one_flow_are_found_among_those_of_others() {
        let mut queue = Queue::default();
        let rank = rank(Priority::Normal);
        let mut push = |flow, returning| {
            queue.push(Position { rank, flow, returning, level: Level::HIGHEST }, ENTRY)
        };
        let [one, two, three] = [Flow::Tenant(1), Flow::Tenant(2), Flow::Tenant(3)];
        let first = push(two, false);
        push(one, false);
        push(three, true);
        let back = push(two, true);
        let rank = rank.index();
        assert_eq!(queue.oldest(rank, two).map(|(ticket, _)| ticket), Some(back));
        assert_eq!(queue.first_to_give_way(rank, two).map(|(ticket, _)| ticket), Some(first));
        for ticket in [first, back] {
            queue.remove(ticket);
        }
        assert!(queue.oldest(rank, two).is_none() && queue.first_to_give_way(rank, two).is_none());
        assert_eq!(queue.any_flow(rank), Some(one));
    }

    #[test]
    fn a_request_is_removed_once() {
        let mut queue = Queue::default();
        let ticket = push(&mut queue, rank(Priority::Normal), Level::HIGHEST);
        assert_eq!(queue.remove(ticket), Some(ENTRY));
        assert_eq!(queue.remove(ticket), None);
        assert!(queue.is_empty());
    }
}
