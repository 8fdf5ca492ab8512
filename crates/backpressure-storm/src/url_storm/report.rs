//! The report: the verdict and tables for the terminal, and the same as JSON.

use crate::url_storm::steps::StepResult;
use crate::url_storm::storm::Storm;
use crate::url_storm::verdict::Verdict;
use serde::Serialize;
use std::fmt::Write;

/// Version of the layout of report.json.
const FORMAT: u32 = 1;

/// The whole report as JSON.
pub(crate) fn json(storm: &Storm, verdict: &Verdict) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        format: u32,
        verdict: &'a Verdict,
        conditions: Vec<String>,
        #[serde(flatten)]
        storm: &'a Storm,
    }
    serde_json::to_string_pretty(&Report {
        format: FORMAT,
        verdict,
        conditions: conditions(storm),
        storm,
    })
}

const HEADER: &str = "step       clients    offered   goodput   of what is      p50      p99  attempts   refused    late  broken   recovered     CPU";
const UNITS: &str = "                          /s        /s     possible       ms       ms a request  of the attempts                          service";

/// The verdict first, its table after.
pub(crate) fn render(storm: &Storm, verdict: &Verdict) -> String {
    let mut text = String::new();
    let (headline, others) = verdict.lines.split_at(verdict.lines.len().min(1));
    for line in headline.iter().chain(&verdict.doubt).chain(others) {
        _ = writeln!(text, "{line}");
    }
    if !storm.steps.is_empty() {
        _ = writeln!(text, "\n{HEADER}\n{UNITS}");
    }
    for step in &storm.steps {
        _ = writeln!(text, "{}", row(step));
    }
    let conditions = conditions(storm);
    if !conditions.is_empty() {
        text.push('\n');
    }
    for line in conditions {
        _ = writeln!(text, "{line}");
    }
    text
}

fn row(step: &StepResult) -> String {
    let share = |share: f64| format!("{:.0} %", share * 100.0);
    let known =
        |value: Option<f64>| value.map_or_else(|| "–".into(), |value| format!("{value:.1}"));
    format!(
        "{:<10} {:<9} {:>8.1} {:>9.1} {:>11.3}{} {:>8} {:>8} {:>9.2} {:>9} {:>7} {:>7} {:>11} {:>7}",
        step.step,
        step.clients,
        step.offered,
        step.goodput,
        step.goodput_over_possible,
        if step.disturbed || step.generator_limited { "*" } else { " " },
        known(step.p50_ms),
        known(step.p99_ms),
        step.attempts_per_request,
        share(step.refused_share),
        share(step.late_share),
        share(step.broken_share),
        step.recovery(),
        step.service_cpu.map_or_else(|| "–".into(), |cpu| format!("{cpu:.2}")),
    )
}

/// What has to be known to read the figures.
pub(crate) fn conditions(storm: &Storm) -> Vec<String> {
    let mut lines = Vec::new();
    let count = |of: fn(&StepResult) -> bool| storm.steps.iter().filter(|step| of(step)).count();
    let (disturbed, limited) = (count(|step| step.disturbed), count(|step| step.generator_limited));
    let most = storm
        .steps
        .iter()
        .filter_map(|step| step.others)
        .map(|others| others.total())
        .fold(0.0, f64::max);
    if disturbed > 0 {
        lines.push(format!(
            "* Other processes took up to {most:.2} CPUs, in {disturbed} steps also when these were repeated: their figures are in doubt. \
             A database of the service on this machine is such a process."
        ));
    }
    if limited > 0 {
        lines.push(format!("* In {limited} steps the load generator itself was full: their figures are its own, not the service's."));
    }
    if storm.search.iter().any(|rung| rung.disturbed) && storm.not_reached.is_none() {
        lines
            .push("Other processes disturbed the search of the capacity: it may be higher.".into());
    }
    if storm.steps.iter().any(|step| step.others.is_none()) {
        lines.push("What other processes took is not known: the processes of the service could not be found, or the system does not say.".into());
    }
    let not_sent: u32 = storm.steps.iter().map(|step| step.not_sent).sum();
    if not_sent > 0 {
        lines.push(format!("{not_sent} attempts found no free connection here (--connections), and count as broken."));
    }
    if storm.steps.iter().any(StepResult::beats_capacity) {
        lines.push(format!(
            "The service kept up with more than {:.0} requests a second: the capacity was taken too low, and loads above it are no overload.",
            storm.capacity
        ));
    }
    if storm.cached {
        lines.push("A cache says that it answered: the figures are the cache's. {n} in the URL makes every request another.".into());
    }
    lines.extend(storm.left_out.iter().map(|left| format!("Left out: {left}.")));
    for (text, count) in other_answers(storm) {
        lines.push(format!("{count} attempts got: {text}."));
    }
    if storm.quick {
        lines.push("A quick storm: fewer steps, shorter measurements.".into());
    }
    if storm.interrupted {
        lines.push("Interrupted: these are the steps that finished.".into());
    }
    if storm.out_of_time {
        lines.push("--time-limit was reached: these are the steps that finished.".into());
    }
    lines
}

/// The most frequent other answers of all steps.
fn other_answers(storm: &Storm) -> Vec<(String, u32)> {
    const SHOWN: usize = 5;
    let mut all = std::collections::BTreeMap::<&str, u32>::new();
    for (text, count) in storm.steps.iter().flat_map(|step| &step.other_answers) {
        *all.entry(text).or_default() += count;
    }
    let mut all: Vec<(String, u32)> =
        all.into_iter().map(|(text, count)| (text.to_owned(), count)).collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    all.truncate(SHOWN);
    all
}
