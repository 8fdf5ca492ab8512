//! Everything that runs: one task a caller, one an attempt. Who was woken first is polled first.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Wake, Waker};

use crate::world::slab::{Id, Slab};

pub(super) type Work<'p> = Pin<Box<dyn Future<Output = ()> + Send + 'p>>;

/// The tasks of a run.
pub(super) struct Tasks<'p> {
    slab: Slab<Task<'p>>,
    ready: Arc<Ready>,
    /// The one that is being polled, or was last.
    pub(super) current: Id,
    polls: u64,
}

struct Task<'p> {
    /// Elsewhere while it is being polled.
    work: Option<Work<'p>>,
    signal: Arc<Signal>,
    /// It stands in a run queue: nobody polls it but the core that takes it.
    held: bool,
    /// It was woken while it was being polled.
    again: bool,
    cancelled: bool,
    /// Its place among all polls, the last time it was polled.
    polled: u64,
}

/// Who was woken, in that order.
#[derive(Debug, Default)]
pub(super) struct Ready(Mutex<VecDeque<Id>>);

#[derive(Debug)]
struct Signal {
    id: Id,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl<'p> Tasks<'p> {
    pub(super) fn new() -> Self {
        Self { slab: Slab::new(), ready: Arc::default(), current: Id::NONE, polls: 0 }
    }

    pub(super) fn ready(&self) -> Arc<Ready> {
        Arc::clone(&self.ready)
    }

    pub(super) fn spawn(&mut self, work: Work<'p>) -> Id {
        let id = self.slab.insert_with(|id| Task {
            work: Some(work),
            signal: Arc::new(Signal {
                id,
                queued: AtomicBool::new(true),
                ready: Arc::clone(&self.ready),
            }),
            held: false,
            again: false,
            cancelled: false,
            polled: 0,
        });
        self.ready.push(id);
        id
    }

    /// From now on only a core may poll the current task.
    pub(super) fn hold(&mut self) -> Id {
        if let Some(task) = self.slab.get_mut(self.current) {
            task.held = true;
        }
        self.current
    }

    /// Takes a task that was woken, to poll it; `None`: it is gone, or not to be polled now.
    pub(super) fn take(&mut self, id: Id) -> Option<(Work<'p>, Waker)> {
        let task = self.slab.get_mut(id)?;
        task.signal.queued.store(false, Ordering::Relaxed);
        if task.held {
            return None;
        }
        let Some(work) = task.work.take() else {
            task.again = true;
            return None;
        };
        self.current = id;
        self.polls += 1;
        task.polled = self.polls;
        Some((work, Waker::from(Arc::clone(&task.signal))))
    }

    /// Takes a task from its run queue, to poll it on a core.
    pub(super) fn release(&mut self, id: Id) -> Option<(Work<'p>, Waker)> {
        self.slab.get_mut(id)?.held = false;
        self.take(id)
    }

    /// Puts those who were woken after the first `count` into the order in which they were polled:
    /// the runtime wakes whoever yielded to it last to first.
    pub(super) fn sort_after(&self, count: usize) {
        let polled = |id: &Id| self.slab.get(*id).map_or(0, |task| task.polled);
        self.ready.queue().make_contiguous()[count..].sort_by_key(polled);
    }

    /// Puts a task back after its poll; gives it back where it is over.
    #[must_use]
    pub(super) fn put_back(&mut self, id: Id, work: Work<'p>, poll: Poll<()>) -> Option<Work<'p>> {
        let Some(task) = self.slab.get_mut(id) else { return Some(work) };
        if poll.is_ready() || task.cancelled {
            self.slab.remove(id);
            return Some(work);
        }
        task.work = Some(work);
        if std::mem::take(&mut task.again) {
            Wake::wake_by_ref(&task.signal);
        }
        None
    }

    /// Calls a task off. What is computing is called off when it stops.
    #[must_use]
    pub(super) fn cancel(&mut self, id: Id) -> Option<Work<'p>> {
        let task = self.slab.get_mut(id)?;
        task.cancelled = true;
        let work = task.work.take()?;
        self.slab.remove(id);
        Some(work)
    }

    /// All of them, at the end.
    #[must_use]
    pub(super) fn clear(&mut self) -> Slab<impl Send + use<'p>> {
        std::mem::replace(&mut self.slab, Slab::new())
    }
}

impl Ready {
    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Id>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, id: Id) {
        self.queue().push_back(id);
    }

    pub(super) fn len(&self) -> usize {
        self.queue().len()
    }

    pub(super) fn pop(&self) -> Option<Id> {
        self.queue().pop_front()
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.id);
        }
    }
}
