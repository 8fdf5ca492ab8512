//! No control at all: what everything else is compared with.

use backpressure_core::{Sample, Timestamp};

use crate::controller::{Answer, AttemptInfo, Controller, Next, Site};

#[derive(Debug)]
struct Open;

pub(super) fn make(_site: &Site) -> Box<dyn Controller> {
    Box::new(Open)
}

impl Controller for Open {
    fn arrive(&mut self, _visitor: AttemptInfo, _now: Timestamp) -> Answer {
        Answer::Run
    }

    fn depart(&mut self, _visitor: AttemptInfo, _sample: &Sample, _now: Timestamp) {}

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        None
    }

    fn abandon(&mut self, _visitor: AttemptInfo, _now: Timestamp) {}

    fn limit(&self) -> f64 {
        f64::INFINITY
    }

    fn queued(&self) -> usize {
        0
    }
}
