//! A FIFO queue in front of a fixed number of threads.
//!
//! The queue has no bound: neither a tokio semaphore's nor a thread pool's has one by default. A request
//! whose client gives up leaves the queue, as a dropped future does; the thread pools of the originals would
//! still run it.

use std::collections::VecDeque;

use backpressure_core::Timestamp;

use crate::controller::AttemptInfo;

/// The queue, and the threads that work.
#[derive(Debug)]
pub(super) struct Executor {
    threads: usize,
    working: usize,
    queue: VecDeque<Waiting>,
}

/// A request in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) attempt: AttemptInfo,
    pub(super) since: Timestamp,
}

impl Executor {
    /// As many threads as the knee: a limit that was measured beforehand.
    pub(super) fn new(knee: f64) -> Self {
        let threads = (knee.round() as usize).max(1);
        Self { threads, working: 0, queue: VecDeque::new() }
    }

    /// Takes a thread if one is free and no request waits; otherwise queues.
    pub(super) fn enter(&mut self, attempt: AttemptInfo, now: Timestamp) -> bool {
        let at_once = self.queue.is_empty() && self.working < self.threads;
        if at_once {
            self.working += 1;
        } else {
            self.queue.push_back(Waiting { attempt, since: now });
        }
        at_once
    }

    /// The first request of the queue, if a thread is free. It takes the thread with [`take`](Self::take).
    pub(super) fn call(&mut self) -> Option<Waiting> {
        if self.working < self.threads { self.queue.pop_front() } else { None }
    }

    /// A request from the queue takes a thread.
    pub(super) fn take(&mut self) {
        self.working += 1;
    }

    /// A thread becomes free.
    pub(super) fn release(&mut self) {
        self.working -= 1;
    }

    /// Removes a request from the queue. The oldest give up first, so it is found near the head.
    pub(super) fn forget(&mut self, id: u64) {
        if let Some(place) = self.queue.iter().position(|waiting| waiting.attempt.id == id) {
            self.queue.remove(place);
        }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }
}
