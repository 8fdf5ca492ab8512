//! The runs as a table for the terminal.

use std::fmt::Write;

use crate::run::{Run, Score};
use crate::scenario::Scenario;
use crate::world::plan::Plan;

use super::scoreboard::{Scoreboard, UNLUCKY, at_share, least, most};

const HEADER: &str = "scenario                     controller            goodput   worst      p99      false  converges   wasted attempts    fair  limit   kept  obedient";
const UNITS: &str = "                                                of ceiling   class    ×alone  refused %          s        %  a request         error  word    served";

/// One row for each scenario and controller, and the score of each controller.
pub(super) fn render(scenarios: &[Scenario], runs: &[Run]) -> String {
    let mut text = format!("{HEADER}\n{UNITS}\n");
    let scoreboard = Scoreboard::of(runs);
    for scenario in scenarios {
        let changes = Plan::of(scenario).change.is_some();
        let mut head = scenario.name.as_str();
        for controller in &scoreboard.controllers {
            let scores = scoreboard.scores(&scenario.name, controller);
            if !scores.is_empty() {
                text.push_str(&row(head, controller, scores, changes));
                head = "";
            }
        }
    }
    text.push_str("\nThe worst scenario at the 5th-percentile seed\n");
    for controller in &scoreboard.controllers {
        if let Some((name, goodput)) = scoreboard.worst(controller) {
            writeln!(text, "  {controller:<21} {goodput:>7.3}  in {name}")
                .expect("writing to a string does not fail");
        }
    }
    text
}

fn row(scenario: &str, controller: &str, scores: &[&Score], changes: bool) -> String {
    let least = |of| least(scores, of);
    let most = |of| most(scores, of);
    format!(
        "{scenario:<28} {controller:<19} {:>9.3} {:>7.3} {:>9.2} {:>10.3} {:>10} {:>8.1} {:>10.2} {:>7.3} {:>6.2} {:>6} {:>9}\n",
        least(|score| score.goodput_over_ceiling),
        least(|score| score.worst_class),
        most(|score| score.p99_over_uncontended),
        100.0 * most(|score| score.false_reject),
        if changes { converges(scores) } else { "–".to_owned() },
        100.0 * most(|score| score.wasted),
        most(|score| score.attempts),
        least(|score| score.fairness),
        most(|score| score.limit_error),
        share(scores, |score| score.kept_promises),
        share(scores, |score| score.obedient),
    )
}

/// A share that not every scenario has.
fn share(scores: &[&Score], of: impl Fn(&Score) -> Option<f64>) -> String {
    let shares: Vec<f64> = scores.iter().filter_map(|score| of(score)).collect();
    if shares.is_empty() { "–".to_owned() } else { format!("{:.3}", at_share(shares, UNLUCKY)) }
}

fn converges(scores: &[&Score]) -> String {
    match most(scores, |score| score.converge_s.unwrap_or(f64::INFINITY)) {
        time if time.is_finite() => format!("{time:.2}"),
        _ => "never".to_owned(),
    }
}
