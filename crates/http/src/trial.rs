//! A dry run of the queue: a request that would wait runs at once, and its ticket waits for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use backpressure_gate::{Enter, Gate, Place};
use tokio::time::Instant;

use crate::observe::Observer;
use crate::switches::{Free, Switches};

/// The ticket of a request that is running.
///
/// Its place in the queue is real, so that the queue fills, passes and is cut short as it would;
/// only the request does not wait for what comes of it. If its answer comes first, it counts as
/// admitted: it would have been served, or at least was not refused.
#[derive(Debug)]
pub(crate) struct Trial {
    enter: Pin<Box<Enter>>,
    gate: Gate,
    observer: Observer,
    switches: Switches,
    decided: bool,
}

impl Trial {
    pub(crate) fn new(enter: Enter, gate: Gate, observer: Observer, switches: Switches) -> Self {
        Self { enter: Box::pin(enter), gate, observer, switches, decided: false }
    }

    /// Ready when the gate has decided: a place, or no place as the request would be refused.
    pub(crate) fn poll_verdict(&mut self, cx: &mut Context<'_>) -> Poll<Result<Place, Free>> {
        let verdict = ready!(self.enter.as_mut().poll(cx));
        self.decided = true;
        Poll::Ready(match verdict {
            Ok(permit) => {
                self.observer.would_admit(&self.gate);
                Ok(permit.into_place())
            }
            Err(shed) => {
                self.observer.would_reject(shed, &self.gate, Instant::now());
                Err(self.switches.free())
            }
        })
    }

    /// The request runs on; its ticket is given up.
    pub(crate) fn into_free(self) -> Free {
        self.switches.free()
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if !self.decided {
            self.observer.would_admit(&self.gate);
        }
    }
}
