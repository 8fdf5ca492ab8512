//! The process's own workers: threads that take turns with everything else.
//!
//! A handler that computes does not yield: its poll lasts. So that the meter sees that, the poll is
//! made on a thread of its own, which stands still until the paused clock has gone on by as much as
//! the handler computes. At any time only one of all the threads runs, handed on like a baton: what
//! comes of it does not depend on how they are scheduled.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::thread::Scope;

use tokio::runtime::Handle;

use super::tasks::Work;

/// The workers of a run.
pub(super) struct Cores<'scope, 'env, 'p> {
    scope: &'scope Scope<'scope, 'env>,
    all: Vec<Core<'p>>,
    idle: Vec<usize>,
}

struct Core<'p> {
    orders: Sender<(Work<'p>, Waker)>,
    resume: Sender<()>,
    stops: Receiver<Stop>,
    polled: Receiver<Polled<'p>>,
}

/// A task and what came of its poll.
pub(super) type Polled<'p> = (Work<'p>, Poll<()>);

/// Why a worker hands the baton back.
#[derive(Clone, Copy, Debug)]
enum Stop {
    Computes,
    Polled,
}

/// A worker's own end.
struct Seat {
    stops: Sender<Stop>,
    resumed: Receiver<()>,
}

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// Keeps the present worker busy until it is told to go on; false: the run is over.
pub(super) fn compute() -> bool {
    SEAT.with_borrow(|seat| {
        let Some(Seat { stops, resumed }) = seat else { return false };
        stops.send(Stop::Computes).is_ok() && resumed.recv().is_ok()
    })
}

impl<'scope, 'env, 'p: 'scope> Cores<'scope, 'env, 'p> {
    pub(super) const fn new(scope: &'scope Scope<'scope, 'env>) -> Self {
        Self { scope, all: Vec::new(), idle: Vec::new() }
    }

    /// Polls a task on an idle worker until it computes (then the worker's number is given) or until
    /// the poll ends.
    pub(super) fn begin(&mut self, work: Work<'p>, waker: Waker) -> Result<usize, Polled<'p>> {
        let core = self.idle.pop().unwrap_or_else(|| self.hire());
        let ordered = self.all[core].orders.send((work, waker));
        ordered.expect("a worker waits for orders until the end");
        self.wait(core)
    }

    /// The worker has computed: the poll goes on.
    pub(super) fn resume(&mut self, core: usize) -> Result<usize, Polled<'p>> {
        self.all[core].resume.send(()).expect("a worker waits until it is resumed");
        self.wait(core)
    }

    fn wait(&mut self, core: usize) -> Result<usize, Polled<'p>> {
        let Core { stops, polled, .. } = &self.all[core];
        match stops.recv().expect("a handler panicked") {
            Stop::Computes => Ok(core),
            Stop::Polled => {
                self.idle.push(core);
                Err(polled.recv().expect("sent before the stop"))
            }
        }
    }

    fn hire(&mut self) -> usize {
        let (orders, ordered) = channel();
        let (resume, resumed) = channel();
        let (stop, stops) = channel();
        let (done, polled) = channel();
        let runtime = Handle::current();
        self.scope.spawn(move || {
            let _clock = runtime.enter();
            SEAT.set(Some(Seat { stops: stop.clone(), resumed }));
            work(&ordered, &stop, &done);
        });
        self.all.push(Core { orders, resume, stops, polled });
        self.all.len() - 1
    }
}

fn work<'p>(orders: &Receiver<(Work<'p>, Waker)>, stop: &Sender<Stop>, done: &Sender<Polled<'p>>) {
    for (mut work, waker) in orders {
        let poll = work.as_mut().poll(&mut Context::from_waker(&waker));
        if done.send((work, poll)).is_err() || stop.send(Stop::Polled).is_err() {
            return;
        }
    }
}
