//! The service under the layer: its handler does what the world says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use backpressure_core::Outcome;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tower::Service;

/// What the world tells the handler of one attempt.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) began: AtomicBool,
    state: Mutex<ControlState>,
}

#[derive(Debug, Default)]
pub(super) struct ControlState {
    waker: Option<Waker>,
    pub(super) answer: Option<HandlerAnswer>,
    pub(super) computation: Option<Computation>,
}

#[derive(Debug)]
pub(super) struct HandlerAnswer {
    pub(super) outcome: Outcome,
    pub(super) body: Reading,
}

#[derive(Debug)]
pub(super) struct Computation {
    pub(super) computes: Sender<()>,
    pub(super) resumed: Receiver<()>,
}

impl Control {
    pub(super) fn lock(&self) -> MutexGuard<'_, ControlState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        let waker = self.lock().waker.clone();
        waker.into_iter().for_each(Waker::wake);
    }
}

/// The task of an attempt, as its wakers know it.
#[derive(Debug)]
pub(super) struct Signal {
    pub(super) id: u64,
    pub(super) woken: AtomicBool,
    pub(super) queue: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        if !self.woken.swap(true, Ordering::Relaxed) {
            self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.id);
        }
    }
}

/// The service under the layer.
#[derive(Clone, Debug)]
pub(super) struct Handler;

impl Service<Request<()>> for Handler {
    type Response = Response<Reading>;
    type Error = Infallible;
    type Future = Handling;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<()>) -> Handling {
        let control: Arc<Control> =
            request.extensions_mut().remove().expect("put there when the attempt arrived");
        control.began.store(true, Ordering::Relaxed);
        Handling(control)
    }
}

pub(super) struct Handling(Arc<Control>);

impl Future for Handling {
    type Output = Result<Response<Reading>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        state.waker = Some(cx.waker().clone());
        if let Some(HandlerAnswer { outcome, body }) = state.answer.take() {
            let mut response = Response::new(body);
            response.extensions_mut().insert(outcome);
            return Poll::Ready(Ok(response));
        }
        let computation = state.computation.take();
        drop(state);
        if let Some(Computation { computes, resumed }) = computation {
            computes.send(()).expect("the controller waits for it");
            // An error: the run is over.
            let _ = resumed.recv();
        }
        Poll::Pending
    }
}

/// An empty body: `None` has ended, and the rest end when the flag is set.
#[derive(Debug)]
pub(super) struct Reading(pub(super) Option<Arc<AtomicBool>>);

impl Body for Reading {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.as_ref().is_some_and(|has_ended| !has_ended.load(Ordering::Relaxed)) {
            return Poll::Pending;
        }
        self.0 = None;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
