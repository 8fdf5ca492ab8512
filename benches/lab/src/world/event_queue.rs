//! Events, ordered by their time and, at the same time, by the order in which they were queued.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::slab::Id;

/// What happens at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The next requests of a stream arrive.
    Arrives(u32),
    /// A client sends the next attempt of a request.
    Sends(Id),
    /// A service calls another service again.
    Calls(Id),
    /// A core begins to compute for an attempt.
    Begins(Id),
    /// A job at a FIFO station is done.
    Served(u32, Id),
    /// A job at a shared station may be done; the second number says which estimate this was.
    Shared(u32, u32),
    /// A delay is over.
    Passed(Id),
    /// A response body was read to its end.
    Read(Id),
    /// The number of cores of a station changes.
    CoresChange(u32),
    /// A controller asked to be called at this time.
    Tick(u32),
    /// The patience of a client is over.
    Leaves(Id),
    /// Limits, requests in flight and queues are recorded.
    SampleLevels,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    serial: u64,
    event: Event,
}

#[derive(Debug)]
pub(super) struct EventQueue {
    heap: BinaryHeap<Entry>,
    serial: u64,
}

impl EventQueue {
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
    /// The heap pops the greatest, so the earliest is the greatest.
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
