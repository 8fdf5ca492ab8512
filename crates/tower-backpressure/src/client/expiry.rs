//! The moment at which an attempt without a response is given up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

pin_project! {
    /// A timer for the response to an attempt, which does not take a pause of this process for a silence of the server.
    ///
    /// Where the process was suspended, or had no CPU time, the timer fires late, and before what has come meanwhile was
    /// read from the sockets. It then gives as much time again for that, once, and [`MAX_EXTENSION`] at most.
    #[derive(Debug)]
    pub(super) struct Expiry {
        #[pin]
        timer: Sleep,
        is_extended: bool,
    }
}

/// How late a timer may fire on a machine that is busy. It is rounded up to a millisecond.
const MIN_LATENESS: Duration = Duration::from_millis(10);
/// Enough to read thousands of responses. The callers of a server that hangs wait for so much longer after a pause.
const MAX_EXTENSION: Duration = Duration::from_secs(1);

impl Expiry {
    pub(super) fn at(moment: Instant) -> Self {
        Self { timer: sleep_until(moment), is_extended: false }
    }

    /// Ready when what was waited for is given up. It has to be polled before.
    pub(super) fn poll_expired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        ready!(this.timer.as_mut().poll(cx));
        let now = Instant::now();
        let lateness = now - this.timer.deadline();
        if *this.is_extended || lateness < MIN_LATENESS {
            return Poll::Ready(());
        }
        *this.is_extended = true;
        this.timer.as_mut().reset(now + lateness.min(MAX_EXTENSION));
        this.timer.poll(cx)
    }

    /// The timer as it is.
    pub(super) fn timer(self: Pin<&mut Self>) -> Pin<&mut Sleep> {
        self.project().timer
    }
}
