//! Waiting to be let in.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use backpressure_core::{Arrival, Shed, Ticket};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::desk::Answer;
use crate::door::Door;
use crate::permit::Permit;

pin_project! {
    /// The future of [`Gate::enter`](crate::Gate::enter).
    ///
    /// # Cancellation
    /// Dropping it gives up the place in the queue, and the permit if one was granted meanwhile.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Enter {
        door: Arc<Door>,
        arrival: Arrival,
        // Lives while somebody may still decide about it.
        ticket: Option<Ticket>,
        #[pin]
        patience: Option<Sleep>,
    }

    impl PinnedDrop for Enter {
        fn drop(this: Pin<&mut Self>) {
            if let Some(ticket) = this.ticket {
                this.door.hall().abandon(ticket, this.door.now());
            }
        }
    }
}

/// What somebody who asks is told at once.
#[derive(Debug)]
pub enum Asked {
    /// It may run.
    Admitted(Permit),
    /// It has a place in the queue.
    Waiting(Enter),
    /// It is turned away.
    Refused(Shed),
}

impl Enter {
    pub(crate) const fn new(door: Arc<Door>, arrival: Arrival) -> Self {
        Self { door, arrival, ticket: None, patience: None }
    }

    pub(crate) fn ask(door: &Arc<Door>, arrival: Arrival, now: Instant) -> Asked {
        match door.enter(arrival, || door.timestamp(now)) {
            Answer::Run(entry) => Asked::Admitted(Permit::new(Arc::clone(door), entry)),
            Answer::Shed(shed) => Asked::Refused(shed),
            Answer::Wait(ticket, until) => Asked::Waiting(Self {
                door: Arc::clone(door),
                arrival,
                ticket: Some(ticket),
                patience: Some(tokio::time::sleep_until(door.instant(until))),
            }),
        }
    }
}

impl Future for Enter {
    type Output = Result<Permit, Shed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let hall = this.door.hall();
        if this.ticket.is_none() {
            match this.door.enter(*this.arrival, || this.door.now()) {
                Answer::Run(entry) => {
                    return Poll::Ready(Ok(Permit::new(Arc::clone(this.door), entry)));
                }
                Answer::Shed(shed) => return Poll::Ready(Err(shed)),
                Answer::Wait(ticket, until) => {
                    *this.ticket = Some(ticket);
                    this.patience.set(Some(tokio::time::sleep_until(this.door.instant(until))));
                }
            }
        }
        let ticket = this.ticket.expect("either taken before or just now");
        let mut decision = hall.collect(ticket, cx.waker());
        if decision.is_none() {
            let patience = this.patience.as_mut().as_pin_mut().expect("set with the ticket");
            if patience.poll(cx).is_pending() {
                return Poll::Pending;
            }
            decision = hall.expire(ticket, this.door.now());
        }
        *this.ticket = None;
        let decision = decision.expect("a ticket is decided once, and collected by its holder");
        Poll::Ready(decision.map(|entry| Permit::called(Arc::clone(this.door), entry)))
    }
}
