//! Reads what is left of a failed response, so that its connection can be used again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use http_body::Body;
use pin_project_lite::pin_project;

pin_project! {
    /// Discards a body, and ends when the body ends, fails, or exceeds [`MAX_DRAINED_BYTES`].
    pub(super) struct Drain<B> {
        #[pin]
        body: B,
        left: u64,
    }
}

/// The longest body that is read for the sake of a connection. The pages that proxies send with a 503 have
/// some kilobytes; a new connection costs less than reading more than this.
const MAX_DRAINED_BYTES: u64 = 64 * 1024;

/// What a frame counts at least: a body of empty frames without an end would be read for ever. So a thousand
/// frames are read at most.
const LEAST_BYTES_OF_FRAME: u64 = 64;

/// The longest time for it, within the wait: some round trips. A body that stalls holds a connection, and
/// perhaps a permit, for as long.
pub(super) const MAX_DRAIN_TIME: Duration = Duration::from_millis(500);

impl<B: Body> Drain<B> {
    /// `None` where there is nothing to read, or too much.
    pub(super) fn of(body: B) -> Option<Self> {
        let is_too_long = body.size_hint().lower() > MAX_DRAINED_BYTES;
        (!body.is_end_stream() && !is_too_long).then_some(Self { body, left: MAX_DRAINED_BYTES })
    }
}

impl<B: Body> Future for Drain<B> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            let Some(Ok(frame)) = ready!(this.body.as_mut().poll_frame(cx)) else {
                return Poll::Ready(());
            };
            let bytes = frame.data_ref().map_or(0, Buf::remaining) as u64;
            match this.left.checked_sub(bytes.max(LEAST_BYTES_OF_FRAME)) {
                Some(left) => *this.left = left,
                None => return Poll::Ready(()),
            }
        }
    }
}
