//! Waiting to be let in.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use backpressure_core::{Arrival, Shed, Ticket, Timestamp};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::desk::Answer;
use crate::door::Door;
use crate::permit::Permit;

/// How often a request that waits looks whether time has made room: as often as a limit may be raised
/// because nothing is answered.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
        until: Timestamp,
        #[pin]
        look: Option<Sleep>,
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
        Self { door, arrival, ticket: None, until: Timestamp::ZERO, look: None }
    }

    pub(crate) fn ask(door: &Arc<Door>, arrival: Arrival, now: Instant) -> Asked {
        match door.enter(arrival, || door.timestamp(now)) {
            Answer::Run(entry) => Asked::Admitted(Permit::new(Arc::clone(door), entry)),
            Answer::Shed(shed) => Asked::Refused(shed),
            Answer::Wait(ticket, until) => Asked::Waiting(Self {
                door: Arc::clone(door),
                arrival,
                ticket: Some(ticket),
                until,
                look: Some(first_look(door, until)),
            }),
        }
    }
}

fn first_look(door: &Door, until: Timestamp) -> Sleep {
    tokio::time::sleep_until(door.instant(next_look(door.now(), until)))
}

fn next_look(now: Timestamp, until: Timestamp) -> Timestamp {
    until.min(now + LOOK_EVERY)
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
                    (*this.ticket, *this.until) = (Some(ticket), until);
                    this.look.set(Some(first_look(this.door, until)));
                }
            }
        }
        let ticket = this.ticket.expect("either taken before or just now");
        let decision = loop {
            if let Some(decision) = hall.collect(ticket, cx.waker()) {
                break decision;
            }
            let mut look = this.look.as_mut().as_pin_mut().expect("set with the ticket");
            ready!(look.as_mut().poll(cx));
            let now = this.door.now();
            if now >= *this.until {
                break hall.expire(ticket, now).expect("a ticket is decided once, for its holder");
            }
            // Time alone may have made room: a place that is silent for long counts apart.
            hall.settle(now);
            look.reset(this.door.instant(next_look(now, *this.until)));
        };
        *this.ticket = None;
        Poll::Ready(decision.map(|entry| Permit::called(Arc::clone(this.door), entry)))
    }
}
