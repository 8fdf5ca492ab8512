//! The runs, as a terminal shows them.

use std::fmt::Write;

use crate::run::{Run, Score};
use crate::scenario::Scenario;
use crate::world::plan::Plan;

const HEADER: &str = "scenario                     controller            goodput   worst      p99      false  converges   wasted attempts    fair  limit   kept";
const UNITS: &str = "                                                of ceiling   class    ×alone  refused %          s        %  a request         error  word";

/// The share of seeds that may be worse than what is shown.
const UNLUCKY: f64 = 0.05;

/// One row a scenario and controller, and the score of each controller.
pub(super) fn render(scenarios: &[Scenario], runs: &[Run]) -> String {
    let mut text = format!("{HEADER}\n{UNITS}\n");
    let controllers = controllers(runs);
    for scenario in scenarios {
        let changes = Plan::of(scenario).change.is_some();
        let mut head = scenario.name.as_str();
        for controller in &controllers {
            let scores = scores(runs, &scenario.name, controller);
            if !scores.is_empty() {
                text.push_str(&row(head, controller, &scores, changes));
                head = "";
            }
        }
    }
    text.push_str("\nThe worst scenario at the 5th-percentile seed\n");
    for controller in &controllers {
        if let Some((name, goodput)) = worst(scenarios, runs, controller) {
            writeln!(text, "  {controller:<21} {goodput:>7.3}  in {name}")
                .expect("a string takes all");
        }
    }
    text
}

fn controllers(runs: &[Run]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        if !names.contains(&run.controller.as_str()) {
            names.push(&run.controller);
        }
    }
    names
}

fn scores<'a>(runs: &'a [Run], scenario: &str, controller: &str) -> Vec<&'a Score> {
    let these = runs.iter().filter(|run| run.scenario == scenario && run.controller == controller);
    these.map(|run| &run.score).collect()
}

fn row(scenario: &str, controller: &str, scores: &[&Score], changes: bool) -> String {
    let least = |of: fn(&Score) -> f64| unlucky(scores, of, true);
    let most = |of: fn(&Score) -> f64| unlucky(scores, of, false);
    format!(
        "{scenario:<28} {controller:<19} {:>9.3} {:>7.3} {:>9.2} {:>10.3} {:>10} {:>8.1} {:>10.2} {:>7.3} {:>6.2} {:>6}\n",
        least(|score| score.goodput_over_ceiling),
        least(|score| score.worst_class),
        most(|score| score.p99_over_uncontended),
        100.0 * most(|score| score.false_reject),
        if changes { converges(scores) } else { "–".to_owned() },
        100.0 * most(|score| score.wasted),
        most(|score| score.attempts),
        least(|score| score.fairness),
        most(|score| score.limit_error),
        kept(scores),
    )
}

/// Share of promised returns that were let in.
fn kept(scores: &[&Score]) -> String {
    let mut shares: Vec<f64> = scores.iter().filter_map(|score| score.kept_promises).collect();
    if shares.is_empty() {
        "–".to_owned()
    } else {
        format!("{:.3}", at_share(&mut shares, UNLUCKY))
    }
}

fn converges(scores: &[&Score]) -> String {
    let mut times: Vec<f64> =
        scores.iter().map(|score| score.converge_s.unwrap_or(f64::INFINITY)).collect();
    match at_share(&mut times, 1.0 - UNLUCKY) {
        time if time.is_finite() => format!("{time:.2}"),
        _ => "never".to_owned(),
    }
}

/// The 5th percentile of what should be high, the 95th of what should be low.
fn unlucky(scores: &[&Score], of: fn(&Score) -> f64, low: bool) -> f64 {
    let mut values: Vec<f64> = scores.iter().map(|score| of(score)).collect();
    at_share(&mut values, if low { UNLUCKY } else { 1.0 - UNLUCKY })
}

fn at_share(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    values[rank - 1]
}

/// The scenario in which a controller fares worst.
fn worst<'a>(scenarios: &'a [Scenario], runs: &[Run], controller: &str) -> Option<(&'a str, f64)> {
    let each = scenarios.iter().filter_map(|scenario| {
        let scores = scores(runs, &scenario.name, controller);
        let goodput = |score: &Score| score.goodput_over_ceiling;
        (!scores.is_empty()).then(|| (scenario.name.as_str(), unlucky(&scores, goodput, true)))
    });
    each.min_by(|a, b| a.1.total_cmp(&b.1))
}
