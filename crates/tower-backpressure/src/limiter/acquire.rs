//! The future of a permit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use backpressure_core::{Shed, Ticket, Timestamp};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::permit::{Permit, Stage};
use super::shared::Shared;
use super::state::Answer;
use crate::request_info::RequestInfo;

/// How often a queued request applies what time alone has changed: as often as a limit may be raised
/// while no request completes.
const SETTLE_INTERVAL: Duration = Duration::from_millis(100);

pin_project! {
    /// The future returned by [`Limiter::acquire`](crate::Limiter::acquire).
    ///
    /// # Cancellation
    /// Dropping it gives up the request's position in the queue, and the permit if one was granted
    /// in the meantime.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Acquire {
        shared: Arc<Shared>,
        info: RequestInfo,
        // `None` before the first poll and after the decision.
        queued: Option<Queued>,
        #[pin]
        settle: Option<Sleep>,
    }

    impl PinnedDrop for Acquire {
        fn drop(this: Pin<&mut Self>) {
            if let Some(queued) = this.queued {
                this.shared.abandon(queued.ticket, this.shared.now());
            }
        }
    }
}

/// A request's position in the queue.
#[derive(Clone, Copy, Debug)]
struct Queued {
    ticket: Ticket,
    /// It is rejected at this moment at the latest.
    until: Timestamp,
}

/// The immediate answer to a request.
#[derive(Debug)]
pub(crate) enum Acquired {
    Permit(Permit),
    Queued(Acquire),
    Rejected(Shed),
}

impl Acquire {
    pub(crate) const fn new(shared: Arc<Shared>, info: RequestInfo) -> Self {
        Self { shared, info, queued: None, settle: None }
    }

    /// What the first poll does, without a future where none is needed.
    pub(crate) fn start(shared: &Arc<Shared>, info: RequestInfo, now: Instant) -> Acquired {
        match shared.request(info.on_scale(|at| shared.timestamp(at)), shared.timestamp(now)) {
            Answer::Run(entry) => Acquired::Permit(Permit::new(shared, entry, Stage::Admitted)),
            Answer::Shed(shed) => Acquired::Rejected(shed),
            Answer::Wait(ticket, until) => {
                let queued = Queued { ticket, until };
                let settle = Some(tokio::time::sleep_until(queued.wakes_at(shared)));
                let shared = Arc::clone(shared);
                Acquired::Queued(Self { shared, info, queued: Some(queued), settle })
            }
        }
    }
}

impl Queued {
    /// The next time at which something may have changed without a completion.
    fn wakes_at(self, shared: &Shared) -> Instant {
        shared.instant(self.until.min(shared.now() + SETTLE_INTERVAL))
    }
}

impl Future for Acquire {
    type Output = Result<Permit, Shed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.queued.is_none() {
            match Self::start(&self.shared, self.info, Instant::now()) {
                Acquired::Permit(permit) => return Poll::Ready(Ok(permit)),
                Acquired::Rejected(shed) => return Poll::Ready(Err(shed)),
                Acquired::Queued(acquire) => self.set(acquire),
            }
        }
        let mut this = self.project();
        let shared = &**this.shared;
        let queued = this.queued.expect("set when the request was queued");
        let decision = loop {
            if let Some(decision) = shared.collect(queued.ticket, cx.waker()) {
                break decision;
            }
            let mut settle = this.settle.as_mut().as_pin_mut().expect("set with the ticket");
            ready!(settle.as_mut().poll(cx));
            let now = shared.now();
            if now >= queued.until {
                break shared.expire(queued.ticket, now).expect("a ticket is decided once");
            }
            shared.settle(now);
            settle.reset(queued.wakes_at(shared));
        };
        *this.queued = None;
        let shared = this.shared;
        Poll::Ready(decision.map(|entry| Permit::new(shared, entry, Stage::Dequeued)))
    }
}
