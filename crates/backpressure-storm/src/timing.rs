//! Durations of the phases, in a full storm and in a quick one.

use crate::arrivals::Step;
use crate::event_log::Window;
use crate::plan::{BASE, Scenario};
use std::time::Duration;

/// Durations of the phases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// How long a client waits for the answer to one attempt.
    pub(crate) deadline: Duration,
    /// At half the capacity, before the step.
    warm: Duration,
    /// Measured, after the step has settled.
    window: Duration,
    before: Duration,
    brown_out: Duration,
    after: Duration,
    /// A bucket of a timeline: a quarter of the span over which recovery is judged.
    pub(crate) bucket: Duration,
    /// Per level of the search for the capacity.
    pub(crate) capacity: Duration,
    pub(crate) uncontended: Duration,
    pub(crate) refusal: Duration,
    /// Per candidate in the search for tower's limit.
    pub(crate) candidate: Duration,
}

impl Timing {
    pub(crate) fn of(quick: bool) -> Self {
        if quick { Self::quick() } else { Self::full() }
    }

    const fn full() -> Self {
        Self {
            deadline: Duration::from_millis(1000),
            warm: Duration::from_millis(400),
            window: Duration::from_millis(2000),
            before: Duration::from_millis(3000),
            brown_out: Duration::from_millis(10_000),
            after: Duration::from_millis(8000),
            bucket: Duration::from_millis(250),
            capacity: Duration::from_millis(1200),
            uncontended: Duration::from_millis(2500),
            refusal: Duration::from_millis(500),
            candidate: Duration::from_millis(1200),
        }
    }

    const fn quick() -> Self {
        Self {
            deadline: Duration::from_millis(200),
            warm: Duration::from_millis(100),
            window: Duration::from_millis(300),
            before: Duration::from_millis(500),
            brown_out: Duration::from_millis(1800),
            after: Duration::from_millis(1500),
            bucket: Duration::from_millis(50),
            capacity: Duration::from_millis(400),
            uncontended: Duration::from_millis(500),
            refusal: Duration::from_millis(150),
            candidate: Duration::from_millis(300),
        }
    }

    /// Time until a FIFO queue without a limit is past the deadline, with a margin. It grows by N − 1 seconds a
    /// second, and requests queued just before that are answered one deadline later.
    fn settle(&self, load: f64) -> Duration {
        let wait = if load > 1.0 { load / (load - 1.0) * 1.05 } else { 1.0 };
        self.deadline.mul_f64(wait)
    }

    /// The rates of a scenario for a service of this capacity.
    pub(crate) fn steps(&self, scenario: Scenario, capacity: f64) -> Vec<Step> {
        let step = |load: f64, lasts| Step { rate: load * capacity, lasts };
        match scenario {
            Scenario::BrownOut => vec![step(BASE, self.end(scenario))],
            steady => vec![
                step(0.5, self.warm),
                step(steady.load(), self.settle(steady.load()) + self.window),
            ],
        }
    }

    /// When the work is slow.
    pub(crate) fn slow(&self, scenario: Scenario) -> Option<Window> {
        (scenario == Scenario::BrownOut)
            .then(|| Window { from: self.before, to: self.before + self.brown_out })
    }

    /// The measured window: a step that has settled, or everything from the start of the brown-out.
    pub(crate) fn measured(&self, scenario: Scenario) -> Window {
        let from = match scenario {
            Scenario::BrownOut => self.before,
            steady => self.warm + self.settle(steady.load()),
        };
        Window { from, to: self.end(scenario) }
    }

    pub(crate) fn end(&self, scenario: Scenario) -> Duration {
        match scenario {
            Scenario::BrownOut => self.before + self.brown_out + self.after,
            steady => self.warm + self.settle(steady.load()) + self.window,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn a_step_settles_until_an_unbounded_queue_answers_nothing_in_time() {
        let timing = Timing::full();
        assert!(timing.settle(2.0) > timing.deadline * 2);
        assert!(timing.settle(10.0) > timing.deadline && timing.settle(10.0) < timing.deadline * 2);
        assert_eq!(timing.settle(0.5), timing.deadline);
    }

    #[test]
    fn four_stacks_fit_in_five_minutes_and_in_one() {
        for (timing, most) in [(Timing::full(), 250), (Timing::quick(), 50)] {
            let steady: Duration =
                Scenario::value_variants()[..5].iter().map(|&scenario| timing.end(scenario)).sum();
            assert!((steady * 2 + timing.end(Scenario::BrownOut)) * 4 < Duration::from_secs(most));
        }
    }
}
