//! An attempt at a door: it counts as long as it lasts, and its answer is waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use http::response::Parts;
use tokio::sync::oneshot;

use crate::world::slab::Id;

use super::stage::Stage;

/// An attempt under way. Dropped before its answer it is called off, if its caller cancels.
pub(super) struct Reply<'p> {
    pub(super) stage: Arc<Stage<'p>>,
    pub(super) task: Id,
    pub(super) cancels: bool,
    pub(super) answer: oneshot::Receiver<Parts>,
}

/// Counts as outstanding until it is dropped.
pub(super) struct Present<'p> {
    pub(super) stage: Arc<Stage<'p>>,
    pub(super) post: usize,
    pub(super) began: Arc<AtomicBool>,
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        let mut state = self.stage.state();
        state.outstanding[self.post] -= 1;
        state.journal.left += 1;
        if !self.began.load(Ordering::Relaxed) {
            state.asleep -= 1;
        }
    }
}

impl Future for Reply<'_> {
    type Output = Parts;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Parts> {
        match ready!(Pin::new(&mut self.answer).poll(cx)) {
            Ok(head) => {
                self.cancels = false;
                Poll::Ready(head)
            }
            // The run is over.
            Err(_) => Poll::Pending,
        }
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        if self.cancels {
            self.stage.cancel(self.task);
        }
    }
}
