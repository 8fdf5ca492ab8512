//! Those who wait, in the order in which they will run.

use std::collections::BTreeMap;

use crate::priority::Priority;
use crate::shed::Reason;
use crate::time::Timestamp;

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    // The order of the fields is the order of the queue: class first, then arrival.
    priority: Priority,
    number: u64,
}

impl Ticket {
    const fn first_of(priority: Priority) -> Self {
        Self { priority, number: 0 }
    }
}

/// How long somebody waits, and why no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// The last moment at which running still makes sense.
    pub(crate) until: Timestamp,
    /// What it is turned away for after that.
    pub(crate) then: Reason,
    /// When it came.
    pub(crate) since: Timestamp,
}

/// Waiting requests: the highest class first, within a class the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Ticket, Patience>,
    issued: u64,
}

/// From the one that gives way first.
const CLASSES: [Priority; 4] =
    [Priority::Sheddable, Priority::Deferrable, Priority::Normal, Priority::Critical];

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a place.
    pub(crate) fn push(&mut self, priority: Priority, patience: Patience) -> Ticket {
        self.issued += 1;
        let ticket = Ticket { priority, number: self.issued };
        self.waiting.insert(ticket, patience);
        ticket
    }

    /// Gives a place up; `None` when the ticket had none any more.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Patience> {
        self.waiting.remove(&ticket)
    }

    /// The next to run: the oldest of the highest class.
    pub(crate) fn pop_oldest(&mut self) -> Option<(Ticket, Patience)> {
        let (highest, _) = self.waiting.last_key_value()?;
        let (&ticket, &patience) =
            self.waiting.range(Ticket::first_of(highest.priority)..).next()?;
        self.waiting.remove(&ticket);
        Some((ticket, patience))
    }

    /// The next to run: the newest of the highest class.
    pub(crate) fn pop_newest(&mut self) -> Option<(Ticket, Patience)> {
        self.waiting.pop_last()
    }

    /// The class that would give way first.
    pub(crate) fn lowest(&self) -> Option<Priority> {
        self.waiting.first_key_value().map(|(ticket, _)| ticket.priority)
    }

    /// Gives up the place of the oldest in the lowest class: it is the likeliest to be gone.
    pub(crate) fn displace(&mut self) -> Option<Ticket> {
        self.waiting.pop_first().map(|(ticket, _)| ticket)
    }

    /// Gives up the place of somebody who came before `moment`, the lowest class first; `None`:
    /// nobody did.
    pub(crate) fn displace_before(&mut self, moment: Timestamp) -> Option<Ticket> {
        let oldest = |class: &Priority| self.waiting.range(Ticket::first_of(*class)..).next();
        let late = CLASSES.iter().filter_map(oldest).find(|(_, who)| who.since < moment);
        let ticket = *late?.0;
        self.waiting.remove(&ticket);
        Some(ticket)
    }

    /// How many would run before a newcomer of this class.
    pub(crate) fn ahead_of(&self, priority: Priority) -> usize {
        match self.lowest() {
            None => 0,
            Some(lowest) if lowest >= priority => self.len(),
            Some(_) => self.len() - self.waiting.range(..Ticket::first_of(priority)).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Patience = Patience {
        until: Timestamp::from_nanos(u64::MAX),
        then: Reason::QueueTimeout,
        since: Timestamp::ZERO,
    };

    #[test]
    fn the_highest_class_runs_first_and_the_oldest_within_it() {
        let mut queue = Queue::default();
        let batch = queue.push(Priority::Deferrable, NEVER);
        let first = queue.push(Priority::Critical, NEVER);
        let second = queue.push(Priority::Critical, NEVER);
        let order: Vec<_> =
            std::iter::from_fn(|| queue.pop_oldest()).map(|(ticket, _)| ticket).collect();
        assert_eq!(order, [first, second, batch]);
    }

    #[test]
    fn the_oldest_of_the_lowest_class_gives_way() {
        let mut queue = Queue::default();
        queue.push(Priority::Critical, NEVER);
        let old = queue.push(Priority::Sheddable, NEVER);
        queue.push(Priority::Sheddable, NEVER);
        assert_eq!(queue.displace(), Some(old));
    }

    #[test]
    fn whoever_came_too_early_gives_way_the_lowest_class_first() {
        let at = |nanos| Patience { since: Timestamp::from_nanos(nanos), ..NEVER };
        let mut queue = Queue::default();
        let payment = queue.push(Priority::Critical, at(1));
        let batch = queue.push(Priority::Sheddable, at(2));
        queue.push(Priority::Normal, at(3));
        let moment = Timestamp::from_nanos(3);
        assert_eq!(queue.displace_before(moment), Some(batch));
        assert_eq!(queue.displace_before(moment), Some(payment));
        assert_eq!(queue.displace_before(moment), None);
    }

    #[test]
    fn a_newcomer_counts_only_its_own_class_and_above() {
        let mut queue = Queue::default();
        queue.push(Priority::Sheddable, NEVER);
        queue.push(Priority::Normal, NEVER);
        queue.push(Priority::Critical, NEVER);
        assert_eq!(queue.ahead_of(Priority::Sheddable), 3);
        assert_eq!(queue.ahead_of(Priority::Normal), 2);
        assert_eq!(queue.ahead_of(Priority::Critical), 1);
    }

    #[test]
    fn a_place_is_given_up_once() {
        let mut queue = Queue::default();
        let ticket = queue.push(Priority::Normal, NEVER);
        assert_eq!(queue.remove(ticket), Some(NEVER));
        assert_eq!(queue.remove(ticket), None);
        assert!(queue.is_empty());
    }
}
