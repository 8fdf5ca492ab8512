//! The runs of each controller in each scenario, and their figure at an unlucky seed.

use std::collections::BTreeMap;

use crate::run::{Run, Score};

/// Share of the seeds that may be worse than the figure shown.
pub(super) const UNLUCKY: f64 = 0.05;

/// All scores, by scenario and controller.
#[derive(Debug)]
pub(super) struct Scoreboard<'a> {
    /// In the order in which they first appear.
    pub(super) scenarios: Vec<&'a str>,
    pub(super) controllers: Vec<&'a str>,
    /// Most seeds of one controller in one scenario.
    pub(super) seeds: usize,
    cells: BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Score>>>,
}

/// The figures that are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) goodput: f64,
    pub(super) p99: f64,
    pub(super) false_reject: f64,
}

impl<'a> Scoreboard<'a> {
    pub(super) fn of(runs: &'a [Run]) -> Self {
        let mut scoreboard = Self {
            scenarios: Vec::new(),
            controllers: Vec::new(),
            seeds: 0,
            cells: BTreeMap::new(),
        };
        for run in runs {
            push_once(&mut scoreboard.scenarios, &run.scenario);
            push_once(&mut scoreboard.controllers, &run.controller);
            let row = scoreboard.cells.entry(&run.scenario).or_default();
            row.entry(&run.controller).or_default().push(&run.score);
        }
        scoreboard.seeds =
            scoreboard.cells.values().flat_map(BTreeMap::values).map(Vec::len).max().unwrap_or(0);
        scoreboard
    }

    /// Every seed of a controller in a scenario; empty if it did not run.
    pub(super) fn scores(&self, scenario: &str, controller: &str) -> &[&'a Score] {
        let row = self.cells.get(scenario);
        row.and_then(|row| row.get(controller)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn figures(&self, scenario: &str, controller: &str) -> Option<Figures> {
        let scores = self.scores(scenario, controller);
        (!scores.is_empty()).then(|| Figures {
            goodput: least(scores, |score| score.goodput_over_ceiling),
            p99: most(scores, |score| score.p99_over_uncontended),
            false_reject: most(scores, |score| score.false_reject),
        })
    }

    /// A controller in each scenario in which it ran.
    pub(super) fn line(&self, controller: &str) -> Vec<(&'a str, Figures)> {
        let cell = |&scenario: &&'a str| Some((scenario, self.figures(scenario, controller)?));
        self.scenarios.iter().filter_map(cell).collect()
    }

    /// The scenario in which a controller has the least goodput.
    pub(super) fn worst(&self, controller: &str) -> Option<(&'a str, f64)> {
        let line = self.line(controller).into_iter();
        let goodputs = line.map(|(scenario, figures)| (scenario, figures.goodput));
        goodputs.min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

fn push_once<'a>(names: &mut Vec<&'a str>, name: &'a str) {
    if !names.contains(&name) {
        names.push(name);
    }
}

/// The 5th percentile over the seeds, of a figure that should be high.
pub(super) fn least(scores: &[&Score], of: fn(&Score) -> f64) -> f64 {
    at_share(scores.iter().map(|score| of(score)).collect(), UNLUCKY)
}

/// The 95th percentile over the seeds, of a figure that should be low.
pub(super) fn most(scores: &[&Score], of: fn(&Score) -> f64) -> f64 {
    -at_share(scores.iter().map(|score| -of(score)).collect(), UNLUCKY)
}

/// By nearest rank; 0 of no values.
pub(super) fn at_share(mut values: Vec<f64>, share: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    let rank = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    values[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(scenario: &str, seed: u64, goodput: f64) -> Run {
        let p99 = 1.0 / goodput;
        let score =
            Score { goodput_over_ceiling: goodput, p99_over_uncontended: p99, ..Score::default() };
        let (scenario, controller) = (scenario.into(), "bold".into());
        Run { scenario, controller, seed, score }
    }

    #[test]
    fn of_forty_seeds_the_second_worst_is_told_in_goodput_and_in_p99() {
        let runs: Vec<Run> = (1..=40).map(|seed| run("calm", seed, seed as f64)).collect();
        let scoreboard = Scoreboard::of(&runs);
        let figures = Figures { goodput: 2.0, p99: 0.5, false_reject: 0.0 };
        assert_eq!(scoreboard.figures("calm", "bold"), Some(figures));
        assert_eq!((scoreboard.seeds, scoreboard.figures("calm", "shy")), (40, None));
    }

    #[test]
    fn a_controller_is_scored_by_its_worst_scenario() {
        let runs = [run("calm", 1, 0.9), run("storm", 1, 0.2), run("breeze", 1, 0.5)];
        assert_eq!(Scoreboard::of(&runs).worst("bold"), Some(("storm", 0.2)));
    }
}
