//! A number somebody knew: the honest baseline, as long as nothing changes.

use backpressure_core::{Sample, Timestamp};

use crate::controller::{Answer, AttemptInfo, Controller, Next, Refusal, Site};

/// At most `limit` at once; whoever comes above it is refused at once.
#[derive(Debug)]
struct Fixed {
    limit: usize,
    in_flight: usize,
}

/// The limit is the knee.
pub(super) fn knee(site: &Site) -> Box<dyn Controller> {
    fixed(site.knee)
}

/// The limit is twice the knee.
pub(super) fn twice_the_knee(site: &Site) -> Box<dyn Controller> {
    fixed(2.0 * site.knee)
}

fn fixed(limit: f64) -> Box<dyn Controller> {
    Box::new(Fixed { limit: (limit.round() as usize).max(1), in_flight: 0 })
}

impl Controller for Fixed {
    fn arrive(&mut self, _visitor: AttemptInfo, _now: Timestamp) -> Answer {
        if self.in_flight >= self.limit {
            return Answer::Shed(Refusal::default());
        }
        self.in_flight += 1;
        Answer::Run
    }

    fn depart(&mut self, _visitor: AttemptInfo, _sample: &Sample, _now: Timestamp) {
        self.in_flight -= 1;
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        None
    }

    fn abandon(&mut self, _visitor: AttemptInfo, _now: Timestamp) {}

    fn limit(&self) -> f64 {
        self.limit as f64
    }

    fn queued(&self) -> usize {
        0
    }
}
