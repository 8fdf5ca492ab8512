//! The scenarios in which ours loses, by a rule.

use crate::suite::scoreboard::{Figures, Scoreboard};

use super::tables::{BASELINE, OURS, best_other, both, head, name};

/// Difference in goodput below which two controllers count as equal.
const SAME: f64 = 0.01;
/// Difference in latency that the table does not show.
const DIGIT: f64 = 0.005;

/// Every scenario in which ours has less goodput than the baseline or the best other, or a longer
/// p99 than the baseline.
pub(super) fn losses(scoreboard: &Scoreboard<'_>) -> String {
    let losses: Vec<Loss<'_>> =
        scoreboard.scenarios.iter().filter_map(|scenario| loss(scoreboard, scenario)).collect();
    if losses.is_empty() {
        return "Nowhere.".into();
    }
    let count = |of: fn(&Loss<'_>) -> bool| losses.iter().filter(|loss| of(loss)).count();
    let summary = format!(
        "In {} of {} scenarios: in {} less goodput than {BASELINE}, in {} less than the best other, in {} a longer p99 than {BASELINE}.\n\n",
        losses.len(),
        scoreboard.scenarios.len(),
        count(|loss| loss.to_baseline),
        count(|loss| loss.to_best),
        count(|loss| loss.later),
    );
    let head = head(
        "| scenario | ours | static-2c | the best other | it has | loses in |",
        "|---|---|---|---|---|---|",
    );
    summary + &head + &losses.iter().map(Loss::row).collect::<String>()
}

#[derive(Debug)]
struct Loss<'a> {
    scenario: &'a str,
    ours: Figures,
    baseline: Option<Figures>,
    best: Option<(&'a str, Figures)>,
    to_baseline: bool,
    to_best: bool,
    later: bool,
}

fn loss<'a>(scoreboard: &Scoreboard<'a>, scenario: &'a str) -> Option<Loss<'a>> {
    let ours = scoreboard.figures(scenario, OURS)?;
    let baseline = scoreboard.figures(scenario, BASELINE);
    let best = best_other(scoreboard, scenario);
    let less = |than: Figures| ours.goodput < than.goodput - SAME;
    let loss = Loss {
        scenario,
        ours,
        baseline,
        best,
        to_baseline: baseline.is_some_and(less),
        to_best: best.is_some_and(|(_, best)| less(best)),
        later: baseline.is_some_and(|baseline| ours.p99 > baseline.p99 + DIGIT),
    };
    (loss.to_baseline || loss.to_best || loss.later).then_some(loss)
}

impl Loss<'_> {
    fn row(&self) -> String {
        let named = [
            (self.to_baseline, "goodput to static-2c"),
            (self.to_best, "goodput to the best"),
            (self.later, "p99"),
        ];
        let named: Vec<&str> =
            named.into_iter().filter_map(|(is, says)| is.then_some(says)).collect();
        format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            self.scenario,
            both(Some(self.ours)),
            both(self.baseline),
            self.best.map_or_else(|| "–".into(), |(best, _)| name(best)),
            both(self.best.map(|(_, figures)| figures)),
            named.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Run, Score};

    fn run(scenario: &str, controller: &str, goodput: f64, p99: f64) -> Run {
        let score =
            Score { goodput_over_ceiling: goodput, p99_over_uncontended: p99, ..Score::default() };
        let (scenario, controller) = (scenario.into(), controller.into());
        Run { scenario, controller, seed: 1, score }
    }

    #[test]
    fn every_loss_is_listed_and_nothing_else() {
        let runs = [
            run("even", OURS, 0.991, 1.5),
            run("even", BASELINE, 1.0, 1.5),
            run("late", OURS, 1.0, 1.51),
            run("late", BASELINE, 1.0, 1.5),
            run("poor", OURS, 0.9, 1.0),
            run("poor", BASELINE, 0.8, 1.5),
            run("poor", "vegas", 0.92, 9.0),
            run("worse", OURS, 0.7, 1.0),
            run("worse", BASELINE, 0.8, 1.5),
        ];
        let text = losses(&Scoreboard::of(&runs));
        assert!(text.starts_with("In 3 of 4 scenarios: in 1 less goodput than static-2c, in 1 less than the best other, in 1 a longer"), "{text}");
        assert!(!text.contains("| even |"), "{text}");
        assert!(
            text.contains(
                "| poor | .900, ×1.00 | .800, ×1.50 | vegas | .920, ×9.00 | goodput to the best |"
            ),
            "{text}"
        );
    }

    #[test]
    fn without_a_loss_it_says_so() {
        let runs = [run("even", OURS, 1.0, 1.0), run("even", BASELINE, 1.0, 1.0)];
        assert_eq!(losses(&Scoreboard::of(&runs)), "Nowhere.");
    }
}
