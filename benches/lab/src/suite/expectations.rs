//! Compares the figures with the ranges that the scenarios expect.

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
    let Score { goodput_over_ceiling, worst_class, p99_over_uncontended, .. } = run.score;
    let Score { false_reject, converge_s, obedient, .. } = run.score;
    let converged = converge_s.unwrap_or(f64::INFINITY);
    let obedient = obedient.unwrap_or(f64::NAN);
    let figures = [
        ("goodput", goodput_over_ceiling, expected.goodput),
        ("worst_class", worst_class, expected.worst_class),
        ("obedient", obedient, expected.obedient),
        ("p99", p99_over_uncontended, expected.p99),
        ("false_reject", false_reject, expected.false_reject),
        ("converge", converged, expected.converge),
    ];
    let strange = figures.into_iter().filter_map(|(name, value, range)| {
        let (least, most) = range?;
        let inside = (least..=most).contains(&value);
        (!inside).then(|| {
            let Run { scenario, controller, seed, .. } = run;
            format!("{scenario}, {controller}, seed {seed}: {name} {value:.4}, expected {least}..={most}")
        })
    });
    strange.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::runner::smoke;

    #[test]
    fn the_smoke_scenarios_are_within_their_expected_ranges() {
        let (scenarios, runs) = smoke();
        assert_eq!(surprises(scenarios, runs), Vec::<String>::new());
    }

    #[test]
    fn a_figure_outside_its_range_is_reported() {
        let (scenarios, runs) = smoke();
        let mut run = runs[0].clone();
        run.score.goodput_over_ceiling = 0.9;
        let told = surprises(scenarios, &[run]);
        assert_eq!(told, ["cpu-2x, none, seed 1: goodput 0.9000, expected 0..=0.35"]);
    }
}
