//! A queue, first come first served, in front of a fixed number of threads.
//!
//! The queue has no bound: neither a tokio semaphore's nor a thread pool's has one by default.
//! Whoever gives up leaves it, as a dropped future does; the thread pools of the originals would
//! come round to him and work for nobody.

use std::collections::VecDeque;

use backpressure_core::Timestamp;

use crate::controller::AttemptInfo;

/// Who waits, and how many threads work.
#[derive(Debug)]
pub(super) struct Executor {
    threads: usize,
    working: usize,
    queue: VecDeque<Waiting>,
}

/// Somebody in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) visitor: AttemptInfo,
    pub(super) since: Timestamp,
}

impl Executor {
    /// As many threads as the knee: tuned by somebody who knew.
    pub(super) fn new(knee: f64) -> Self {
        let threads = (knee.round() as usize).max(1);
        Self { threads, working: 0, queue: VecDeque::new() }
    }

    /// Takes a thread if one is free and nobody was there before.
    pub(super) fn enter(&mut self, visitor: AttemptInfo, now: Timestamp) -> bool {
        let at_once = self.queue.is_empty() && self.working < self.threads;
        if at_once {
            self.working += 1;
        } else {
            self.queue.push_back(Waiting { visitor, since: now });
        }
        at_once
    }

    /// The first in line, if a thread is free for him; he has not got it yet.
    pub(super) fn call(&mut self) -> Option<Waiting> {
        if self.working < self.threads { self.queue.pop_front() } else { None }
    }

    /// Somebody who was called takes the thread.
    pub(super) fn take(&mut self) {
        self.working += 1;
    }

    /// A thread is free again.
    pub(super) fn release(&mut self) {
        self.working -= 1;
    }

    /// Somebody leaves the queue. The oldest give up first, so he is found near its head.
    pub(super) fn forget(&mut self, id: u64) -> bool {
        let place = self.queue.iter().position(|waiting| waiting.visitor.id == id);
        place.is_some_and(|place| self.queue.remove(place).is_some())
    }

    pub(super) fn first(&self) -> Option<&Waiting> {
        self.queue.front()
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{at, visitor};

    #[test]
    fn the_first_to_wait_is_the_first_to_be_called_and_nobody_overtakes_him() {
        let mut executor = Executor::new(1.0);
        assert!(executor.enter(visitor(1), at(0)));
        assert!(!executor.enter(visitor(2), at(1)) && !executor.enter(visitor(3), at(2)));
        assert!(executor.call().is_none());
        executor.release();
        assert!(!executor.enter(visitor(4), at(3)));
        let called = executor.call().unwrap();
        assert_eq!((called.visitor.id, called.since), (2, at(1)));
    }

    #[test]
    fn whoever_gives_up_leaves_the_queue() {
        let mut executor = Executor::new(1.0);
        for id in 1..=3 {
            executor.enter(visitor(id), at(0));
        }
        assert!(executor.forget(2) && !executor.forget(2));
        executor.release();
        assert_eq!(executor.call().unwrap().visitor.id, 3);
        assert_eq!(executor.queued(), 0);
    }
}
