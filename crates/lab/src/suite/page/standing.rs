//! Who stands where: the runs of all seeds as one figure each, and the controllers in their order.

use crate::run::Run;
use crate::suite::board::unlucky;
use std::collections::BTreeMap;

/// All runs, sorted.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    /// In the order in which they first appear.
    pub(super) scenarios: Vec<&'a str>,
    /// The best first.
    pub(super) ranking: Vec<Rank<'a>>,
    /// By scenario and controller.
    cells: BTreeMap<&'a str, BTreeMap<&'a str, Cell<'a>>>,
}

/// A controller over all scenarios.
#[derive(Debug)]
pub(super) struct Rank<'a> {
    pub(super) controller: &'a str,
    /// Goodput over the ceiling in its worst scenario.
    pub(super) score: f64,
    /// That scenario.
    pub(super) worst: &'a str,
    /// The mean over the scenarios.
    pub(super) mean: f64,
    /// The median over the scenarios of the 99th percentile over the uncontended one.
    pub(super) p99: f64,
}

/// A controller in a scenario, over all seeds.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    /// The run at the 5th percentile of goodput: the one that is shown.
    pub(super) shown: &'a Run,
    /// Goodput of the worst seed.
    pub(super) goodput: f64,
    /// 99th percentile of the worst seed.
    pub(super) p99: f64,
    pub(super) false_reject: f64,
}

impl<'a> Standing<'a> {
    pub(super) fn of(runs: &'a [Run]) -> Self {
        let mut scenarios: Vec<&str> = Vec::new();
        let mut seeds: BTreeMap<(&str, &str), Vec<&Run>> = BTreeMap::new();
        for run in runs {
            if !scenarios.contains(&run.scenario.as_str()) {
                scenarios.push(&run.scenario);
            }
            seeds.entry((&run.scenario, &run.controller)).or_default().push(run);
        }
        let mut controllers: Vec<&str> = seeds.keys().map(|(_, controller)| *controller).collect();
        controllers.sort_unstable();
        controllers.dedup();
        let mut cells: BTreeMap<&str, BTreeMap<&str, Cell<'_>>> = BTreeMap::new();
        for ((scenario, controller), runs) in seeds {
            cells.entry(scenario).or_default().insert(controller, Cell::of(runs));
        }
        let mut standing = Self { scenarios, ranking: Vec::new(), cells };
        standing.ranking =
            controllers.into_iter().filter_map(|controller| standing.rank(controller)).collect();
        standing.ranking.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then(b.mean.total_cmp(&a.mean))
                .then(a.controller.cmp(b.controller))
        });
        standing
    }

    pub(super) fn cell(&self, scenario: &str, controller: &str) -> Option<&Cell<'a>> {
        self.cells.get(scenario)?.get(controller)
    }

    /// How many seeds there are, at most, of one controller in one scenario.
    pub(super) fn seeds(runs: &[Run]) -> usize {
        let mut seeds: Vec<u64> = runs.iter().map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seeds.len()
    }

    fn rank(&self, controller: &'a str) -> Option<Rank<'a>> {
        let cells: Vec<(&str, &Cell<'_>)> = self
            .scenarios
            .iter()
            .filter_map(|scenario| Some((*scenario, self.cell(scenario, controller)?)))
            .collect();
        let goodput = |cell: &Cell<'_>| cell.shown.score.goodput_over_ceiling;
        let (worst, cell) = *cells.iter().min_by(|a, b| goodput(a.1).total_cmp(&goodput(b.1)))?;
        let sum: f64 = cells.iter().map(|(_, cell)| goodput(cell)).sum();
        let mut p99: Vec<f64> =
            cells.iter().map(|(_, cell)| cell.shown.score.p99_over_uncontended).collect();
        p99.sort_by(f64::total_cmp);
        Some(Rank {
            controller,
            score: goodput(cell),
            worst,
            mean: sum / cells.len() as f64,
            p99: p99[p99.len() / 2],
        })
    }
}

impl<'a> Cell<'a> {
    /// Of at least one run.
    fn of(mut runs: Vec<&'a Run>) -> Self {
        let shown = unlucky(&mut runs).expect("a cell has a run");
        let most = |figure: fn(&Run) -> f64| runs.iter().map(|run| figure(run)).fold(0.0, f64::max);
        Self {
            shown,
            goodput: runs[0].score.goodput_over_ceiling,
            p99: most(|run| run.score.p99_over_uncontended),
            false_reject: most(|run| run.score.false_reject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Score;

    fn run(scenario: &str, controller: &str, seed: u64, goodput: f64) -> Run {
        let score = Score { goodput_over_ceiling: goodput, ..Score::default() };
        Run {
            scenario: scenario.into(),
            controller: controller.into(),
            seed,
            score,
            course: vec![],
        }
    }

    #[test]
    fn a_controller_is_as_good_as_its_worst_scenario() {
        let runs = [
            run("calm", "bold", 1, 1.0),
            run("storm", "bold", 1, 0.2),
            run("calm", "steady", 1, 0.6),
            run("storm", "steady", 1, 0.5),
        ];
        let standing = Standing::of(&runs);
        let order: Vec<_> =
            standing.ranking.iter().map(|rank| (rank.controller, rank.worst, rank.score)).collect();
        assert_eq!(order, [("steady", "storm", 0.5), ("bold", "storm", 0.2)]);
    }

    #[test]
    fn of_forty_seeds_the_second_worst_is_judged_and_the_worst_is_told() {
        let runs: Vec<Run> = (0..40).map(|seed| run("calm", "bold", seed, seed as f64)).collect();
        let standing = Standing::of(&runs);
        let cell = standing.cell("calm", "bold").expect("it ran");
        assert_eq!((cell.shown.seed, cell.goodput, standing.ranking[0].score), (1, 0.0, 1.0));
    }
}
