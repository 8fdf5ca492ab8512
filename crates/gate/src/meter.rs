//! The meter around a future and its waker.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::time::Instant;

/// Times one attempt: how long it took, how long it stood runnable without being run, and how long
/// it kept a worker.
///
/// Small, because permits are moved and most of them have none: what it reads is on the bell.
#[derive(Debug)]
pub(crate) struct Meter {
    /// There until the drop.
    bell: Option<Arc<Bell>>,
    times_wakes: bool,
}

/// The readings of a meter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) latency: Duration,
    pub(crate) run_queue: Duration,
    pub(crate) busy: Duration,
}

impl Meter {
    /// Starts now; wakes are timed too if asked for.
    pub(crate) fn start(times_wakes: bool) -> Self {
        Self { bell: Some(Bell::take(Instant::now())), times_wakes }
    }

    /// So much was spent waiting for a worker, unseen by the waker.
    pub(crate) fn waited(&self, waited: Duration) {
        add(&self.bell().run_queue, waited);
    }

    /// Polls the future; how long that kept a worker, if that is timed.
    pub(crate) fn poll<F: Future>(
        &self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> (Poll<F::Output>, Duration) {
        if !self.times_wakes {
            return (future.poll(cx), Duration::ZERO);
        }
        let bell = self.bell();
        let begun = Instant::now();
        self.stops_waiting(begun);
        bell.sleeper.register(cx.waker());
        let waker = Waker::from(Arc::clone(bell));
        let answer = future.poll(&mut Context::from_waker(&waker));
        let busy = begun.elapsed();
        add(&bell.busy, busy);
        (answer, busy)
    }

    /// What has passed since it was last woken, if it was, was spent waiting for a worker.
    pub(crate) fn stops_waiting(&self, now: Instant) {
        if let Some(rung) = self.bell().rung() {
            self.waited(now.saturating_duration_since(rung));
        }
    }

    pub(crate) fn read(&self, now: Instant) -> Reading {
        let bell = self.bell();
        Reading {
            latency: now.saturating_duration_since(bell.hung),
            run_queue: Duration::from_nanos(bell.run_queue.load(Ordering::Relaxed)),
            busy: Duration::from_nanos(bell.busy.load(Ordering::Relaxed)),
        }
    }

    fn bell(&self) -> &Arc<Bell> {
        self.bell.as_ref().expect("there until the drop")
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bell) = self.bell.take() {
            bell.put_back();
        }
    }
}

/// The waker that a metered future sees: notes when it was first rung, then wakes the task.
#[derive(Debug)]
struct Bell {
    sleeper: AtomicWaker,
    hung: Instant,
    /// Nanoseconds from `hung` to the first ring since the last poll, plus one; 0: not rung.
    rung: AtomicU64,
    /// Nanoseconds. Only the meter looks at this one and the next, one poll after the other.
    run_queue: AtomicU64,
    busy: AtomicU64,
}

/// Bells a thread keeps for the next request, so that metering allocates nothing in the long run.
const SPARE_BELLS: usize = 256;

thread_local! {
    static SPARE: RefCell<Vec<Arc<Bell>>> = const { RefCell::new(Vec::new()) };
}

impl Bell {
    fn take(hung: Instant) -> Arc<Self> {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        if let Some(mut bell) = spare {
            if let Some(own) = Arc::get_mut(&mut bell) {
                own.hung = hung;
                for dial in [&mut own.rung, &mut own.run_queue, &mut own.busy] {
                    *dial.get_mut() = 0;
                }
                return bell;
            }
        }
        Arc::new(Self {
            sleeper: AtomicWaker::new(),
            hung,
            rung: AtomicU64::new(0),
            run_queue: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        })
    }

    /// Keeps the bell for another request unless somebody still holds a waker to it.
    fn put_back(mut self: Arc<Self>) {
        drop(self.sleeper.take());
        if Arc::get_mut(&mut self).is_none() {
            return;
        }
        // A thread that is ending keeps nothing.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_BELLS {
                spare.push(self);
            }
        });
    }

    /// When it was first rung since the last call.
    fn rung(&self) -> Option<Instant> {
        // A swap only where there is something to take: the common case is a read.
        if self.rung.load(Ordering::Acquire) == 0 {
            return None;
        }
        let nanos = self.rung.swap(0, Ordering::AcqRel).checked_sub(1)?;
        Some(self.hung + Duration::from_nanos(nanos))
    }

    fn ring(&self) {
        if self.rung.load(Ordering::Relaxed) == 0 {
            let nanos = nanos(self.hung.elapsed()).min(u64::MAX - 1);
            // Losing the race means that somebody rang just before.
            let _ = self.rung.compare_exchange(0, nanos + 1, Ordering::AcqRel, Ordering::Relaxed);
        }
        self.sleeper.wake();
    }
}

/// Adds where nobody else does.
fn add(dial: &AtomicU64, span: Duration) {
    let sum = dial.load(Ordering::Relaxed).saturating_add(nanos(span));
    dial.store(sum, Ordering::Relaxed);
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
