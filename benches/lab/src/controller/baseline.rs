//! Baselines: no limit at all, and a limit that was measured beforehand and never changes.

use std::time::Duration;

use backpressure_core::{Fixed, Sample, Timestamp};

use crate::controller::limiter::{Limiter, Published};
use crate::controller::{Answer, AttemptInfo, Controller, Next, Refusal, Site};

/// Admits every request.
#[derive(Debug)]
struct Unlimited;

pub(super) fn unlimited(_site: &Site) -> Box<dyn Controller> {
    Box::new(Unlimited)
}

/// The limit is the knee.
pub(super) fn knee(site: &Site) -> Box<dyn Controller> {
    Limiter::of(Published(fixed(site.knee)))
}

/// The limit is twice the knee.
pub(super) fn twice_the_knee(site: &Site) -> Box<dyn Controller> {
    Limiter::of(Published(fixed(2.0 * site.knee)))
}

/// The limit is twice the knee, and rejections say `Retry-After: 1`.
pub(crate) fn one_second(site: &Site) -> Box<dyn Controller> {
    let refusal = Refusal { retry_after: Some(Duration::from_secs(1)), ticket: false };
    Limiter::telling(Published(fixed(2.0 * site.knee)), refusal)
}

fn fixed(limit: f64) -> Fixed {
    Fixed::new((limit.round() as usize).max(1))
}

impl Controller for Unlimited {
    fn arrive(&mut self, _attempt: AttemptInfo, _now: Timestamp) -> Answer {
        Answer::Run
    }

    fn depart(&mut self, _attempt: AttemptInfo, _sample: &Sample, _now: Timestamp) {}

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        None
    }

    fn abandon(&mut self, _attempt: AttemptInfo, _now: Timestamp) {}

    fn limit(&self) -> f64 {
        f64::INFINITY
    }

    fn queued(&self) -> usize {
        0
    }
}
