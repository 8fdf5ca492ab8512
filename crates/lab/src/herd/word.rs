//! Servers that say something of their own to those they refuse, or say it in their own time.

use crate::controller::{Answer, Controller, Instruments, Next, Refusal, Site, Visitor, catalogue};
use backpressure_core::{Sample, Timestamp};
use std::collections::BTreeMap;
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

    fn worked(&mut self, visitor: Visitor, busy: Duration, now: Timestamp) {
        self.inner.worked(visitor, busy, now);
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

/// Ours, which holds a refusal for the fraction of a second that Retry-After cannot say; as
/// `AdmissionLayer::hold_refusals`.
#[derive(Debug)]
struct Holding {
    inner: Box<dyn Controller>,
    held: BTreeMap<(Timestamp, u64), Refusal>,
}

/// As many as the herd has.
const MOST: usize = super::service::HERD as usize;

pub(super) fn held(site: &Site) -> Box<dyn Controller> {
    let ours = catalogue::find("ours").expect("ours is listed");
    Box::new(Holding { inner: (ours.make)(site), held: BTreeMap::new() })
}

impl Holding {
    fn hold(&mut self, id: u64, refusal: Refusal, now: Timestamp) -> Answer {
        let wait = refusal.retry_after.unwrap_or_default();
        let seconds = Duration::from_secs(wait.as_secs());
        if seconds.is_zero() || self.held.len() >= MOST {
            return Answer::Shed(refusal);
        }
        let refusal = Refusal { retry_after: Some(seconds) };
        self.held.insert((now + (wait - seconds), id), refusal);
        Answer::Wait
    }
}

impl Controller for Holding {
    fn arrive(&mut self, visitor: Visitor, now: Timestamp) -> Answer {
        match self.inner.arrive(visitor, now) {
            Answer::Shed(refusal) => self.hold(visitor.id, refusal, now),
            other => other,
        }
    }

    fn depart(&mut self, visitor: Visitor, sample: &Sample, now: Timestamp) {
        self.inner.depart(visitor, sample, now);
    }

    fn worked(&mut self, visitor: Visitor, busy: Duration, now: Timestamp) {
        self.inner.worked(visitor, busy, now);
    }

    fn answered(&mut self, visitor: Visitor, sample: &Sample, now: Timestamp) -> bool {
        self.inner.answered(visitor, sample, now)
    }

    fn next(&mut self, now: Timestamp) -> Option<Next> {
        if let Some(entry) = self.held.first_entry()
            && entry.key().0 <= now
        {
            return Some(Next::Shed(entry.key().1, entry.remove()));
        }
        self.inner.next(now)
    }

    fn abandon(&mut self, visitor: Visitor, now: Timestamp) {
        let held = self.held.len();
        self.held.retain(|&(_, id), _| id != visitor.id);
        if self.held.len() == held {
            self.inner.abandon(visitor, now);
        }
    }

    fn alarm(&self) -> Option<Timestamp> {
        let first = self.held.first_key_value().map(|(&(until, _), _)| until);
        first.into_iter().chain(self.inner.alarm()).min()
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
