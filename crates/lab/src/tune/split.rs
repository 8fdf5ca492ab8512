//! What a search may see, and what judges it: kinds of scenarios and seeds held apart.

use serde::Serialize;

use crate::controller::Make;
use crate::run::Score;
use crate::scenario::{Scenario, library};
use crate::score::judge;
use crate::world::plan::Plan;
use crate::world::simulate;

/// The suite judges with the first seeds there are; nobody else uses these.
const TRAINING_SEEDS: u64 = 1_000;
const HOLDOUT_SEEDS: u64 = 2_000;
/// In seconds. Longer ones take most of the time and say little more.
const LONGEST: f64 = 300.0;
/// A run is passed with this share of the ceiling.
const PASSED: f64 = 0.95;

#[derive(Debug)]
pub(super) struct Split {
    pub(super) train: Side,
    pub(super) holdout: Side,
}

#[derive(Debug)]
pub(super) struct Side {
    kinds: Vec<String>,
    runs: Vec<(Plan, u64)>,
}

/// A setting on one side of the split.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Standing {
    /// Goodput over the ceiling, at most 1, in the mean of all runs.
    pub(super) mean: f64,
    /// Of the worst of them.
    pub(super) worst: f64,
    /// Share of them with at least .95.
    pub(super) passed: f64,
    /// Median p99 over that of a request alone.
    pub(super) p99: f64,
}

impl Split {
    /// Every other kind of scenario trains, in the order in which they come; the rest are held out.
    pub(super) fn of_the_library(seeds: u64) -> Result<Self, String> {
        let mut all = library::all()?;
        all.retain(|scenario| scenario.seconds <= LONGEST);
        let mut kinds: Vec<&str> = Vec::new();
        for scenario in &all {
            if !kinds.contains(&scenario.kind.as_str()) {
                kinds.push(&scenario.kind);
            }
        }
        let side = |first: usize, from: u64| {
            let kinds = kinds.iter().skip(first).step_by(2).map(|kind| (*kind).to_owned());
            Side::of(&all, kinds.collect(), from..from + seeds)
        };
        Ok(Self { train: side(0, TRAINING_SEEDS), holdout: side(1, HOLDOUT_SEEDS) })
    }

    pub(super) fn says(&self) -> String {
        let (train, holdout) = (&self.train, &self.holdout);
        format!(
            "Trains on {} runs, seeds from {TRAINING_SEEDS}: {}.\nJudges on {} runs, seeds from {HOLDOUT_SEEDS}: {}.",
            train.runs.len(),
            train.kinds.join(", "),
            holdout.runs.len(),
            holdout.kinds.join(", ")
        )
    }
}

impl Side {
    fn of(all: &[Scenario], kinds: Vec<String>, seeds: std::ops::Range<u64>) -> Self {
        let these = all.iter().filter(|scenario| kinds.contains(&scenario.kind));
        let runs = these.flat_map(|these| seeds.clone().map(|seed| (Plan::of(these), seed)));
        Self { runs: runs.collect(), kinds }
    }

    pub(super) fn stand(&self, make: &Make<'_>) -> Standing {
        let scores: Vec<Score> = self
            .runs
            .iter()
            .map(|(plan, seed)| judge(plan, &simulate(plan, make, *seed)).0)
            .collect();
        let goodputs = || scores.iter().map(|score| score.goodput_over_ceiling.min(1.0));
        let share = |sum: f64| sum / scores.len().max(1) as f64;
        let mut p99: Vec<f64> = scores.iter().map(|score| score.p99_over_uncontended).collect();
        p99.sort_by(f64::total_cmp);
        Standing {
            mean: share(goodputs().sum()),
            worst: goodputs().fold(1.0, f64::min),
            passed: share(goodputs().filter(|goodput| *goodput >= PASSED).count() as f64),
            p99: p99.get(p99.len() / 2).copied().unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_of_scenario_is_on_both_sides_and_each_is_on_one() {
        let Split { train, holdout } = Split::of_the_library(1).unwrap();
        assert!(train.kinds.iter().all(|kind| !holdout.kinds.contains(kind)));
        let short = library::all().unwrap().into_iter().filter(|it| it.seconds <= LONGEST);
        assert_eq!(train.runs.len() + holdout.runs.len(), short.count());
    }
}
