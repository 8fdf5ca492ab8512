//! The rule that a service does no less useful work with ours than without.

use super::scoreboard::{Scoreboard, at_share};

/// Ours, no limit, and a fixed limit of twice the knee.
pub(super) const COMPARED: [&str; 3] = [OURS, "none", "static-2c"];
const OURS: &str = "ours";

/// Difference in goodput that is attributed to chance: two seeds of the same limit differ by as much.
const SAME: f64 = 0.01;

/// A sentence for each scenario in which ours does less useful work, in the median over the seeds.
pub(super) fn harms(scoreboard: &Scoreboard<'_>) -> Vec<String> {
    scoreboard.scenarios.iter().filter_map(|scenario| harm(scoreboard, scenario)).collect()
}

fn harm(scoreboard: &Scoreboard<'_>, scenario: &str) -> Option<String> {
    let goodput = |controller| {
        let scores = scoreboard.scores(scenario, controller).iter();
        let goodputs: Vec<f64> = scores.map(|score| score.goodput_over_ceiling).collect();
        (!goodputs.is_empty()).then(|| at_share(goodputs, 0.5))
    };
    let ours = goodput(OURS)?;
    let others = COMPARED.iter().filter_map(|name| Some((name, goodput(name)?)));
    let better = others.filter(|(_, theirs)| ours < theirs - SAME);
    let better: Vec<String> = better.map(|(name, theirs)| format!("{name} {theirs:.3}")).collect();
    (!better.is_empty()).then(|| format!("{scenario}: ours {ours:.3}, {}", better.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Run, Score};

    fn run(scenario: &str, controller: &str, goodput: f64) -> Run {
        let score = Score { goodput_over_ceiling: goodput, ..Score::default() };
        let (scenario, controller) = (scenario.into(), controller.into());
        Run { scenario, controller, seed: 1, score }
    }

    #[test]
    fn less_useful_work_in_the_median_is_reported_and_one_bad_seed_is_not() {
        let runs = [
            run("worse", "ours", 0.5),
            run("worse", "ours", 0.8),
            run("worse", "ours", 1.0),
            run("worse", "none", 0.9),
            run("worse", "static-2c", 0.805),
            run("even", "ours", 0.2),
            run("even", "ours", 0.995),
            run("even", "ours", 1.0),
            run("even", "none", 1.0),
            run("even", "static-2c", 0.3),
        ];
        assert_eq!(harms(&Scoreboard::of(&runs)), ["worse: ours 0.800, none 0.900"]);
    }
}
