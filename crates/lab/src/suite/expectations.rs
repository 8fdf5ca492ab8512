//! Whether the figures are where the scenarios expect them.

use crate::run::{Run, Score};
use crate::scenario::{Expected, Scenario};

/// A sentence for every figure outside its range.
pub(super) fn surprises(scenarios: &[Scenario], runs: &[Run]) -> Vec<String> {
    let expected = |run: &Run| {
        let scenario = scenarios.iter().find(|scenario| scenario.name == run.scenario)?;
        scenario.expect.get(&run.controller).copied()
    };
    let judged = runs.iter().filter_map(|run| Some((run, expected(run)?)));
    judged.flat_map(|(run, expected)| outside(run, &expected)).collect()
}

fn outside(run: &Run, expected: &Expected) -> Vec<String> {
    let Score { goodput_over_ceiling, p99_over_uncontended, false_reject, converge_s, .. } =
        run.score;
    let converged = converge_s.unwrap_or(f64::INFINITY);
    let figures = [
        ("goodput", goodput_over_ceiling, expected.goodput),
        ("p99", p99_over_uncontended, expected.p99),
        ("false_reject", false_reject, expected.false_reject),
        ("converge", converged, expected.converge),
    ];
    let strange = figures.into_iter().filter_map(|(name, value, range)| {
        let (least, most) = range?;
        let outside = value < least || value > most;
        outside.then(|| {
            let Run { scenario, controller, seed, .. } = run;
            format!("{scenario}, {controller}, seed {seed}: {name} {value:.4}, expected {least}..={most}")
        })
    });
    strange.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::controller::catalogue::find;
    use crate::scenario::library;
    use crate::score::judge;
    use crate::world::plan::Plan;
    use crate::world::simulate;

    /// Whatever a smoke scenario expects something of, once.
    fn smoke() -> &'static (Vec<Scenario>, Vec<Run>) {
        static SMOKE: OnceLock<(Vec<Scenario>, Vec<Run>)> = OnceLock::new();
        SMOKE.get_or_init(|| {
            let mut scenarios = library::all().unwrap();
            scenarios.retain(|scenario| scenario.smoke);
            let runs = scenarios.iter().flat_map(runs).collect();
            (scenarios, runs)
        })
    }

    fn runs(scenario: &Scenario) -> Vec<Run> {
        let plan = Plan::of(scenario);
        let run = |name: &&str| {
            let entry = find(name).unwrap_or_else(|| panic!("no controller {name}"));
            let (score, course) = judge(&plan, &simulate(&plan, &entry.make, 1));
            let (scenario, controller) = (scenario.name.clone(), (*name).to_owned());
            Run { scenario, controller, seed: 1, score, course }
        };
        ["none", "static-2c", "ours"].iter().map(run).collect()
    }

    #[test]
    fn what_the_smoke_scenarios_expect_is_so() {
        let (scenarios, runs) = smoke();
        assert_eq!(surprises(scenarios, runs), Vec::<String>::new());
    }

    /// The same bytes on every machine, in debug and in release. After a change that is meant,
    /// `LAB_BLESS=1 cargo test -p backpressure-lab golden` writes the file anew.
    #[test]
    fn every_figure_of_the_smoke_scenarios_is_the_golden_one() {
        let lines = smoke().1.iter().map(|run| {
            let score = serde_json::to_string(&run.score).unwrap();
            format!("{} {} {score}\n", run.scenario, run.controller)
        });
        let found: String = lines.collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/smoke.txt");
        if std::env::var_os("LAB_BLESS").is_some() {
            std::fs::write(path, &found).unwrap();
        }
        let golden = std::fs::read_to_string(path).unwrap();
        for (found, golden) in found.lines().zip(golden.lines()) {
            assert_eq!(found, golden);
        }
        assert_eq!(found.lines().count(), golden.lines().count());
    }
}
