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
    use super::*;
    use crate::controller::catalogue::find;
    use crate::scenario::library;
    use crate::score::judge;
    use crate::world::plan::Plan;
    use crate::world::simulate;

    fn runs(scenario: &Scenario, seed: u64) -> Vec<Run> {
        let plan = Plan::of(scenario);
        let run = |name: &String| {
            let entry = find(name).unwrap_or_else(|| panic!("{}: no {name}", scenario.name));
            let (score, course) = judge(&plan, &simulate(&plan, entry, seed));
            Run { scenario: scenario.name.clone(), controller: name.clone(), seed, score, course }
        };
        scenario.expect.keys().map(run).collect()
    }

    #[test]
    fn what_the_smoke_scenarios_expect_is_so() {
        let scenarios = library::all().unwrap();
        let smoke = scenarios.iter().filter(|scenario| scenario.smoke);
        let runs: Vec<Run> = smoke.flat_map(|scenario| runs(scenario, 1)).collect();
        assert!(runs.len() >= 3);
        assert_eq!(surprises(&scenarios, &runs), Vec::<String>::new());
    }
}
