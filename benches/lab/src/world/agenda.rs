//! What happens next: events in the order of their time, and of their making where that is equal.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::slab::Id;

/// Something that happens at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The next request of a stream comes.
    Arrives(u32),
    /// A caller sends its next attempt.
    Sends(Id),
    /// A service calls another one again.
    Calls(Id),
    /// A core begins to compute for an attempt.
    Begins(Id),
    /// A job at a fifo station is done.
    Served(u32, Id),
    /// A job at a shared station may be done; the number says of which estimate.
    Shared(u32, u32),
    /// A delay is over.
    Passed(Id),
    /// A body has been read.
    Read(Id),
    /// A station's cores change in number.
    Recounts(u32),
    /// A controller wanted to be woken.
    Alarm(u32),
    /// A caller has waited long enough.
    Leaves(Id),
    /// Levels are read off.
    Look,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    serial: u64,
    event: Event,
}

#[derive(Debug)]
pub(super) struct Agenda {
    heap: BinaryHeap<Entry>,
    serial: u64,
}

impl Agenda {
    pub(super) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), serial: 0 }
    }

    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.serial += 1;
        self.heap.push(Entry { at, serial: self.serial, event });
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest: the heap gives that out first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

impl Eq for Entry {}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
