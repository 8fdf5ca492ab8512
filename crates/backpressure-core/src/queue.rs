//! Waiting requests, in the order in which they will run.

use std::collections::BTreeMap;

use crate::rank::{RANKS, Rank};
use crate::shed::Reason;
use crate::time::Timestamp;

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    // The order of the fields is the order of the queue: rank first, then arrival.
    rank: Rank,
    number: u64,
}

impl Ticket {
    /// The index of its rank.
    pub(crate) const fn rank(self) -> usize {
        self.rank.index()
    }
}

/// How long a request waits, and why no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// The last moment at which running still makes sense.
    pub(crate) until: Timestamp,
    /// What it is turned away for after that.
    pub(crate) then: Reason,
    /// When it came.
    pub(crate) since: Timestamp,
}

/// Waiting requests: the highest rank first, within a rank the oldest first.
///
/// One line for each rank, so that the number of requests ahead of a newcomer is a sum of eight.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Lowest rank first.
    lines: [BTreeMap<Ticket, Patience>; RANKS],
    issued: u64,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.ahead_of(0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.iter().all(BTreeMap::is_empty)
    }

    /// Takes a place.
    pub(crate) fn push(&mut self, rank: Rank, patience: Patience) -> Ticket {
        self.issued += 1;
        let ticket = Ticket { rank, number: self.issued };
        self.lines[rank.index()].insert(ticket, patience);
        ticket
    }

    /// Gives a place up; `None` when the ticket had none any more.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Patience> {
        self.lines[ticket.rank()].remove(&ticket)
    }

    /// The index of the highest rank that waits.
    pub(crate) fn highest(&self) -> Option<usize> {
        self.lines.iter().rposition(|line| !line.is_empty())
    }

    /// The index of the lowest rank that waits: the one that gives way first.
    pub(crate) fn lowest(&self) -> Option<usize> {
        self.lines.iter().position(|line| !line.is_empty())
    }

    /// Takes out the oldest of a rank.
    pub(crate) fn pop_oldest(&mut self, rank: usize) -> Option<(Ticket, Patience)> {
        self.lines[rank].pop_first()
    }

    /// Takes out the newest of a rank.
    pub(crate) fn pop_newest(&mut self, rank: usize) -> Option<(Ticket, Patience)> {
        self.lines[rank].pop_last()
    }

    /// When the oldest of a rank came.
    pub(crate) fn oldest_since(&self, rank: usize) -> Option<Timestamp> {
        self.lines[rank].first_key_value().map(|(_, patience)| patience.since)
    }

    /// How many wait that would run before a newcomer of this rank.
    pub(crate) fn ahead_of(&self, rank: usize) -> usize {
        self.lines[rank..].iter().map(BTreeMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::priority::Priority;
    use crate::request_info::RequestInfo;

    const NEVER: Patience = Patience {
        until: Timestamp::from_nanos(u64::MAX),
        then: Reason::QueueTimeout,
        since: Timestamp::ZERO,
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
        let batch = queue.push(rank(Priority::Deferrable), NEVER);
        let page = queue.push(rank(Priority::Normal), NEVER);
        let again = queue.push(Rank::of(&RequestInfo::default().returning(true)), NEVER);
        let first = queue.push(rank(Priority::Critical), NEVER);
        let second = queue.push(rank(Priority::Critical), NEVER);
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(order, [first, second, again, page, batch]);
    }

    #[test]
    fn the_lowest_rank_is_the_first_to_give_way() {
        let mut queue = Queue::default();
        queue.push(rank(Priority::Critical), NEVER);
        let old = queue.push(rank(Priority::Sheddable), NEVER);
        queue.push(rank(Priority::Sheddable), NEVER);
        let lowest = queue.lowest().expect("three wait");
        assert_eq!(queue.pop_oldest(lowest).map(|(ticket, _)| ticket), Some(old));
    }

    #[test]
    fn a_newcomer_counts_only_its_own_rank_and_above() {
        let mut queue = Queue::default();
        let classes = [Priority::Sheddable, Priority::Normal, Priority::Critical].map(rank);
        for class in classes {
            queue.push(class, NEVER);
        }
        assert_eq!(classes.map(|class| queue.ahead_of(class.index())), [3, 2, 1]);
    }

    #[test]
    fn a_place_is_given_up_once() {
        let mut queue = Queue::default();
        let ticket = queue.push(rank(Priority::Normal), NEVER);
        assert_eq!(queue.remove(ticket), Some(NEVER));
        assert_eq!(queue.remove(ticket), None);
        assert!(queue.is_empty());
    }
}
