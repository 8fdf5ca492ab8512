//! A server like ours that holds rejections.

use crate::controller::{
    Answer, AttemptInfo, Controller, Next, Refusal, Site, TaskChange, catalogue,
};
use backpressure_core::{Sample, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ours, with rejections held for the fraction of a second that `Retry-After` cannot express, as
/// `AdmissionLayer::delay_rejections` does.
#[derive(Debug)]
struct Holding {
    inner: Box<dyn Controller>,
    held: BTreeMap<(Timestamp, u64), Refusal>,
}

/// Rejections held at most: as many as the herd has requests.
const MOST: usize = super::scenario::HERD as usize;

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
        let refusal = Refusal { retry_after: Some(seconds), ..refusal };
        self.held.insert((now + (wait - seconds), id), refusal);
        Answer::Wait
    }
}

impl Controller for Holding {
    fn arrive(&mut self, attempt: AttemptInfo, now: Timestamp) -> Answer {
        match self.inner.arrive(attempt, now) {
            Answer::Shed(refusal) => self.hold(attempt.id, refusal, now),
            other => other,
        }
    }

    fn depart(&mut self, attempt: AttemptInfo, sample: &Sample, now: Timestamp) {
        self.inner.depart(attempt, sample, now);
    }

    fn answered(&mut self, attempt: AttemptInfo, sample: &Sample, now: Timestamp) -> bool {
        self.inner.answered(attempt, sample, now)
    }

    fn task(&mut self, id: u64, change: TaskChange, now: Timestamp) {
        self.inner.task(id, change, now);
    }

    fn next(&mut self, now: Timestamp) -> Option<Next> {
        if let Some(entry) = self.held.first_entry()
            && entry.key().0 <= now
        {
            return Some(Next::Shed(entry.key().1, entry.remove()));
        }
        self.inner.next(now)
    }

    fn abandon(&mut self, attempt: AttemptInfo, now: Timestamp) {
        let held = self.held.len();
        self.held.retain(|&(_, id), _| id != attempt.id);
        if self.held.len() == held {
            self.inner.abandon(attempt, now);
        }
    }

    fn next_tick(&self) -> Option<Timestamp> {
        let first = self.held.first_key_value().map(|(&(until, _), _)| until);
        first.into_iter().chain(self.inner.next_tick()).min()
    }

    fn tick(&mut self, now: Timestamp) {
        self.inner.tick(now);
    }

    fn limit(&self) -> f64 {
        self.inner.limit()
    }

    fn queued(&self) -> usize {
        self.inner.queued()
    }
}
