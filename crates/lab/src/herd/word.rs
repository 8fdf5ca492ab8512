//! Servers that say something of their own to those they refuse.

use crate::controller::{Answer, Controller, Instruments, Next, Refusal, Site, Visitor, catalogue};
use backpressure_core::{Sample, Timestamp};
use std::time::Duration;

/// Another controller, whose refusals all say the same.
#[derive(Debug)]
struct Saying {
    inner: Box<dyn Controller>,
    refusal: Refusal,
}

/// Twice the knee and no queue, with `Retry-After: 1`.
pub(super) fn one_second(site: &Site) -> Box<dyn Controller> {
    let refusal = Refusal { retry_after: Some(Duration::from_secs(1)) };
    let entry = catalogue::find("static-2c").expect("the baseline is listed");
    Box::new(Saying { inner: (entry.make)(site), refusal })
}

impl Controller for Saying {
    fn arrive(&mut self, visitor: Visitor, now: Timestamp) -> Answer {
        match self.inner.arrive(visitor, now) {
            Answer::Shed(_) => Answer::Shed(self.refusal),
            other => other,
        }
    }

    fn depart(&mut self, visitor: Visitor, sample: &Sample, now: Timestamp) {
        self.inner.depart(visitor, sample, now);
    }

    fn next(&mut self, now: Timestamp) -> Option<Next> {
        self.inner.next(now).map(|next| match next {
            Next::Shed(id, _) => Next::Shed(id, self.refusal),
            run @ Next::Run(_) => run,
        })
    }

    fn abandon(&mut self, visitor: Visitor, now: Timestamp) {
        self.inner.abandon(visitor, now);
    }

    fn alarm(&self) -> Option<Timestamp> {
        self.inner.alarm()
    }

    fn tick(&mut self, instruments: &Instruments, now: Timestamp) {
        self.inner.tick(instruments, now);
    }

    fn limit(&self) -> f64 {
        self.inner.limit()
    }

    fn queued(&self) -> usize {
        self.inner.queued()
    }
}
