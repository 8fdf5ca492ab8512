//! Durations of the phases, in a full storm and in a quick one.

use crate::arrivals::Step;
use crate::event_log::Window;
use crate::scenario::{BASE, Scenario};
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
    /// Most repetitions of disturbed runs in the whole storm.
    pub(crate) repeats: u32,
}

/// A limit that adapts needs about this long to find its level after a step: what is measured earlier is the way
/// there. With a fifth of this a storm said .79 where a longer one says .98.
const ADAPTS: Duration = Duration::from_millis(1500);

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
            repeats: 12,
        }
    }

    /// The deadline and the time to settle are those of a full storm, so that the figures are too.
    const fn quick() -> Self {
        Self {
            deadline: Duration::from_millis(1000),
            warm: Duration::from_millis(300),
            window: Duration::from_millis(1200),
            before: Duration::from_millis(1000),
            brown_out: Duration::from_millis(3000),
            after: Duration::from_millis(4000),
            bucket: Duration::from_millis(250),
            capacity: Duration::from_millis(800),
            uncontended: Duration::from_millis(800),
            refusal: Duration::from_millis(300),
            candidate: Duration::from_millis(800),
            repeats: 6,
        }
    }

    /// Time until a FIFO queue without a limit is past the deadline, with a margin. It grows by N − 1 seconds a
    /// second, and requests queued just before that are answered one deadline later.
    fn settle(&self, load: f64) -> Duration {
        if load <= 1.0 {
            return self.deadline;
        }
        self.deadline.mul_f64(load / (load - 1.0) * 1.05).max(ADAPTS)
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
    use crate::scenario::QUICK_SCENARIOS;
    use clap::ValueEnum;

    #[test]
    fn a_step_settles_until_an_unbounded_queue_answers_nothing_in_time() {
        let timing = Timing::full();
        assert!(timing.settle(2.0) > timing.deadline * 2);
        assert_eq!(timing.settle(10.0), ADAPTS);
        assert_eq!(timing.settle(0.5), timing.deadline);
    }

    #[test]
    fn four_stacks_fit_in_five_minutes_and_a_quick_storm_in_two() {
        let lasts = |timing: Timing, scenarios: &[Scenario]| {
            let steady: Duration = scenarios.iter().map(|&scenario| timing.end(scenario)).sum();
            (steady * 2 + timing.end(Scenario::BrownOut)) * 4
        };
        let full = lasts(Timing::full(), &Scenario::value_variants()[..5]);
        assert!(full < Duration::from_secs(260), "{full:?}");
        let quick = lasts(Timing::quick(), &QUICK_SCENARIOS[..2]);
        assert!(quick < Duration::from_secs(90), "{quick:?}");
    }
}
