//! A waker that notes when it was first woken since the last poll, then wakes the task.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::time::Instant;

use crate::nanos::nanos;

/// The waker that a measured future sees, and the times measured so far.
#[derive(Debug)]
pub(super) struct TimedWaker {
    task: AtomicWaker,
    subject: Subject,
    started: Instant,
    /// Nanoseconds from `started` to the first wake since the last poll, plus one; 0: not woken.
    woken: AtomicU64,
    /// Nanoseconds. This one and the next are written by the stopwatch alone, one poll at a time.
    run_queue: AtomicU64,
    marked: AtomicU64,
    busy: AtomicU64,
}

/// The attempt that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// Requests in flight at admission, this one included, without those that count apart.
    pub(crate) in_flight: usize,
    /// The same in the other limiters of its set, if that has a total that adapts.
    pub(crate) in_flight_elsewhere: usize,
    /// Requests this one stands for in the measurements.
    pub(crate) weight: u32,
    /// Without, only the latency is measured.
    pub(crate) times_run_queue: bool,
}

/// The times of one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) latency: Duration,
    pub(crate) run_queue: Duration,
    /// The part of it that was marked.
    pub(crate) marked: Duration,
    pub(crate) busy: Duration,
}

/// Wakers that each thread keeps for later requests, so that measuring allocates nothing in the long run.
const MAX_SPARE: usize = 256;

thread_local! {
    static SPARE: RefCell<Vec<Arc<TimedWaker>>> = const { RefCell::new(Vec::new()) };
}

impl TimedWaker {
    /// One of the thread's spare wakers, or a new one.
    pub(super) fn take(subject: Subject, started: Instant) -> Arc<Self> {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        if let Some(mut waker) = spare {
            if let Some(own) = Arc::get_mut(&mut waker) {
                (own.subject, own.started) = (subject, started);
                for time in [&mut own.woken, &mut own.run_queue, &mut own.marked, &mut own.busy] {
                    *time.get_mut() = 0;
                }
                return waker;
            }
        }
        Arc::new(Self {
            task: AtomicWaker::new(),
            subject,
            started,
            woken: AtomicU64::new(0),
            run_queue: AtomicU64::new(0),
            marked: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        })
    }

    /// Keeps this waker for another request, unless a clone of it is still in use.
    pub(super) fn put_back(mut self: Arc<Self>) {
        drop(self.task.take());
        if Arc::get_mut(&mut self).is_none() {
            return;
        }
        // A thread that is ending has no list of spare wakers any more.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MAX_SPARE {
                spare.push(self);
            }
        });
    }

    pub(super) const fn subject(&self) -> Subject {
        self.subject
    }

    /// Wakes this task from now on.
    pub(super) fn register(&self, task: &Waker) {
        self.task.register(task);
    }

    /// When it was first woken since the last call.
    pub(super) fn take_woken(&self) -> Option<Instant> {
        // A read is cheaper than a swap, and the common case is that there is nothing to take.
        if self.woken.load(Ordering::Acquire) == 0 {
            return None;
        }
        let nanos = self.woken.swap(0, Ordering::AcqRel).checked_sub(1)?;
        Some(self.started + Duration::from_nanos(nanos))
    }

    pub(super) fn add_run_queue(&self, span: Duration) {
        add(&self.run_queue, span);
    }

    /// A marked wait is time in a queue.
    pub(super) fn add_marked(&self, span: Duration) {
        add(&self.run_queue, span);
        add(&self.marked, span);
    }

    pub(super) fn add_busy(&self, span: Duration) {
        add(&self.busy, span);
    }

    pub(super) fn read(&self, now: Instant) -> Reading {
        let latency = now.saturating_duration_since(self.started);
        let run_queue = Duration::from_nanos(self.run_queue.load(Ordering::Relaxed));
        Reading {
            latency,
            // Marked waits may overlap, and include the time to be polled again.
            run_queue: run_queue.min(latency),
            marked: Duration::from_nanos(self.marked.load(Ordering::Relaxed)).min(latency),
            busy: Duration::from_nanos(self.busy.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn wake_task(&self) {
        if self.woken.load(Ordering::Relaxed) == 0 {
            let now = nanos(self.started.elapsed()).min(u64::MAX - 1) + 1;
            // On failure another thread has woken the task just before.
            let _ = self.woken.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
        }
        self.task.wake();
    }
}

/// Adds without a read-modify-write: there is one writer.
fn add(time: &AtomicU64, span: Duration) {
    let sum = time.load(Ordering::Relaxed).saturating_add(nanos(span));
    time.store(sum, Ordering::Relaxed);
}

impl Wake for TimedWaker {
    fn wake(self: Arc<Self>) {
        self.wake_task();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_task();
    }
}
