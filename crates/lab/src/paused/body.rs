//! A body that takes its time.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use super::nap::Nap;
use super::stage::Stage;

/// Empty, and read to its end after a while.
pub(super) struct Slow<'p>(Option<Nap<'p>>);

impl<'p> Slow<'p> {
    pub(super) const fn nothing() -> Self {
        Self(None)
    }

    pub(super) fn over(stage: &Arc<Stage<'p>>, span: u64) -> Self {
        Self(Some(Nap::over(stage, span)))
    }
}

impl Body for Slow<'_> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(nap) = &mut self.0 {
            ready!(Pin::new(nap).poll(cx));
            self.0 = None;
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
