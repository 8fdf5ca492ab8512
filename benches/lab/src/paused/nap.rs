//! Sleep to the nanosecond: tokio's own timers round up to whole milliseconds.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::world::slab::Id;

use super::event::Event;
use super::stage::Stage;

/// Ready from a moment on.
pub(super) struct Nap<'p> {
    stage: Arc<Stage<'p>>,
    at: u64,
    alarm: Id,
}

impl<'p> Nap<'p> {
    /// Over after `span` nanoseconds.
    pub(super) fn over(stage: &Arc<Stage<'p>>, span: u64) -> Self {
        Self::until(stage, stage.now() + span)
    }

    pub(super) fn until(stage: &Arc<Stage<'p>>, at: u64) -> Self {
        Self { stage: Arc::clone(stage), at, alarm: Id::NONE }
    }
}

impl Future for Nap<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.stage.state();
        if this.alarm == Id::NONE {
            this.alarm = state.alarms.insert(cx.waker().clone());
            state.agenda.push(this.at, Event::Wakes(this.alarm));
            return Poll::Pending;
        }
        match state.alarms.get_mut(this.alarm) {
            Some(waker) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Nap<'_> {
    fn drop(&mut self) {
        let waker = self.stage.state().alarms.remove(self.alarm);
        drop(waker);
    }
}
