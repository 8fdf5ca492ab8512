//! An attempt on its way through the layer.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};

use http::Response;
use tokio::runtime::Runtime;
use tower_backpressure::{ResponseBody, Shed};

use super::handler::{Computation, Control, HandlerAnswer, Reading, Signal};
use crate::controller::{Next, Refusal};

pub(super) type Reply = Response<ResponseBody<Reading>>;
pub(super) type Task = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

pub(super) struct Attempt {
    /// How many have arrived before it.
    pub(super) place: u64,
    pub(super) control: Arc<Control>,
    pub(super) signal: Arc<Signal>,
    pub(super) stage: Stage,
}

pub(super) enum Stage {
    Waiting(Task),
    Running(Task),
    Computing(JoinHandle<Task>, Sender<()>),
    /// The body, and the flag that ends it.
    Reading(Pin<Box<ResponseBody<Reading>>>, Arc<AtomicBool>),
    /// Between two of the others.
    Moving,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

impl Attempt {
    /// Polls the task until it rests: it waits in the queue, has called the handler, or was refused.
    pub(super) fn poll(&mut self, mut task: Task, told: &Mutex<Option<Shed>>) -> Option<Next> {
        let waker = Waker::from(Arc::clone(&self.signal));
        loop {
            self.signal.woken.store(false, Ordering::Relaxed);
            match task.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(Ok(_)) => {
                    let told = told.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let shed = told.expect("the handler answers later");
                    return Some(Next::Shed(self.signal.id, refusal(shed)));
                }
                Poll::Pending if self.control.began.load(Ordering::Relaxed) => {
                    self.stage = Stage::Running(task);
                    return Some(Next::Run(self.signal.id));
                }
                Poll::Pending if self.signal.woken.load(Ordering::Relaxed) => {}
                Poll::Pending => {
                    self.stage = Stage::Waiting(task);
                    return None;
                }
            }
        }
    }

    /// Lets the handler answer, and gives the layer's response.
    pub(super) fn respond(&mut self, answer: HandlerAnswer) -> Option<Reply> {
        let Stage::Running(mut task) = mem::replace(&mut self.stage, Stage::Moving) else {
            return None;
        };
        self.control.lock().answer = Some(answer);
        self.control.wake();
        let waker = Waker::from(Arc::clone(&self.signal));
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(response)) => Some(response),
            Poll::Pending => None,
        }
    }

    /// Polls the task on a thread of its own until the handler computes.
    pub(super) fn begin_computing(&mut self, runtime: &Runtime) {
        let Stage::Running(mut task) = mem::replace(&mut self.stage, Stage::Moving) else { return };
        let ((computes, computing), (resume, resumed)) = (channel(), channel());
        self.control.lock().computation = Some(Computation { computes, resumed });
        let (handle, signal) = (runtime.handle().clone(), Arc::clone(&self.signal));
        let thread = thread::spawn(move || {
            let _context = handle.enter();
            let poll = task.as_mut().poll(&mut Context::from_waker(&Waker::from(signal)));
            assert!(poll.is_pending(), "a handler answers in a poll of its own");
            task
        });
        computing.recv().expect("the handler was told to compute");
        self.stage = Stage::Computing(thread, resume);
    }

    pub(super) fn end_computing(&mut self) {
        match mem::replace(&mut self.stage, Stage::Moving) {
            Stage::Computing(thread, resume) => {
                resume.send(()).expect("the handler waits for it");
                self.stage = Stage::Running(thread.join().expect("the poll ends"));
            }
            other => self.stage = other,
        }
    }
}

fn refusal(shed: Shed) -> Refusal {
    Refusal { retry_after: Some(shed.retry_after), ticket: true }
}
