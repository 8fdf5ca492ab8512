//! Where the bottleneck is: here, or behind an await.

use super::experiment::Experiment;
use super::last_increase::LastIncrease;
use super::profile::{HiddenQueue, LatencyProfile, MAX_BURST};
use super::window::Window;
use super::{Adaptive, MAX_FACTOR_PER_DECISION, MAX_TIME_BETWEEN_LOWERINGS};
use crate::limit::Limit;
use crate::limit_change::Cause;
use crate::sample::Sample;
use crate::time::Timestamp;

/// Where requests wait, as far as is known.
#[derive(Debug)]
pub(super) enum Bottleneck {
    /// Here, for a worker; and where the last step up began.
    Here(Option<LastIncrease>),
    /// Behind an await, if anywhere.
    Elsewhere(Box<Experiment>),
}

/// Share of the number in flight at which a limit is nearly always reached.
const BINDING_SHARE: f64 = 0.8;

impl Adaptive {
    /// No request waits too long for a worker.
    pub(super) fn look_for_more(&mut self, full: &Window, now: Timestamp) {
        match self.bottleneck {
            Bottleneck::Here(Some(step)) if step.ended_in_a_queue(full) => {
                self.suspect_elsewhere(step.from(), full, now);
            }
            // An attempt in vain may never have run: what it waits for is not known to be plentiful.
            Bottleneck::Here(_) if full.is_in_vain() => {
                self.suspect_elsewhere(self.limit, full, now);
            }
            Bottleneck::Here(_) if self.seen || self.is_below_knee(full) => self.step_up(full, now),
            Bottleneck::Here(_) => self.suspect_elsewhere(self.limit, full, now),
            Bottleneck::Elsewhere(_) => {}
        }
    }

    /// Most callers leave, and the limit is not reached: what they wait for may be scarce, and is shared by so many that
    /// hardly any is served in time. No rejection can tell, so that fewer have to be tried.
    pub(super) fn look_for_less(&mut self, all: &Window, now: Timestamp) {
        let (next, pause) = self.lowering;
        if now < next || all.is_at_limit() {
            return;
        }
        self.lowering = (now + pause, (2 * pause).min(MAX_TIME_BETWEEN_LOWERINGS));
        let lower = BINDING_SHARE * all.mean_in_flight();
        let limit = lower.min(self.limit).clamp(self.bounds.0, self.bounds.1);
        let experiment = Experiment::new(limit, self.overloaded);
        self.bottleneck = Bottleneck::Elsewhere(Box::new(experiment));
        (self.all, self.full) = (Window::default(), Window::default());
        self.set(limit, Cause::Abandoned { share: all.abandoned_share() }, now);
    }

    fn is_below_knee(&self, full: &Window) -> bool {
        self.yields && self.limit < full.workers_knee(self.workers)
    }

    /// The workers have room: goes where the run queue says, and remembers where from.
    fn step_up(&mut self, full: &Window, now: Timestamp) {
        let target = full.target();
        if target <= self.limit && !self.is_below_knee(full) {
            return;
        }
        let reach = if self.is_below_knee(full) {
            target.max(full.workers_knee(self.workers))
        } else {
            target
        };
        let higher = reach.min(MAX_FACTOR_PER_DECISION * self.limit);
        self.bottleneck = Bottleneck::Here(Some(LastIncrease::of(full)));
        self.follow(higher, full, now);
    }

    /// A queue behind an await that shows in latency as demand rises, while nothing better is known.
    ///
    /// Without overload it has to grow, whatever is in flight, and a burst passes.
    pub(super) fn hidden_queue(&self, sample: &Sample, now: Timestamp) -> Option<HiddenQueue> {
        let harms = if self.overloaded {
            now.since(self.demand_changed) >= MAX_BURST
        } else {
            self.profile.is_growing(sample) && !self.profile.is_contradicted(sample)
        };
        if self.is_known() || !harms {
            return None;
        }
        self.profile.lasting_queue(sample, self.limit, now)
    }

    pub(super) fn go_to_knee(&mut self, queue: &HiddenQueue, sample: &Sample, now: Timestamp) {
        self.profile = LatencyProfile::default();
        (self.all, self.full) = (Window::default(), Window::default());
        let in_flight = sample.in_flight_at_end as f64;
        let experiment = Experiment::at_knee(queue, in_flight, self.overloaded);
        self.bottleneck = Bottleneck::Elsewhere(Box::new(experiment));
        let limit = queue.knee.clamp(self.bounds.0, self.bounds.1);
        self.set(limit, queue.seen.into(), now);
    }

    /// Nothing waits here: what bounds the service, if anything, is behind an await.
    fn suspect_elsewhere(&mut self, limit: f64, full: &Window, now: Timestamp) {
        let experiment = Experiment::new(limit, self.overloaded);
        self.bottleneck = Bottleneck::Elsewhere(Box::new(experiment));
        self.follow(limit, full, now);
    }
}
