//! A body that takes its time.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

/// Empty, and read to its end when its [`Reading`] says so.
///
/// It borrows nothing, as the bodies of servers do: the layers ask for that.
pub(super) struct Slow(Option<Reading>);

/// When the reader of a body has read it; goes with the head of the answer, to the one who naps.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) ends_at: u64,
    has_ended: Arc<AtomicBool>,
}

impl Slow {
    pub(super) const fn nothing() -> Self {
        Self(None)
    }

    pub(super) fn over(reading: Reading) -> Self {
        Self(Some(reading))
    }
}

impl Reading {
    /// Until a moment, in nanoseconds.
    pub(super) fn until(ends_at: u64) -> Self {
        Self { ends_at, has_ended: Arc::default() }
    }

    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

impl Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    /// Wakes nobody: whoever polls it naps until the end, and polls again then.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.as_ref().is_some_and(|reading| !reading.has_ended.load(Ordering::Relaxed)) {
            return Poll::Pending;
        }
        self.0 = None;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
