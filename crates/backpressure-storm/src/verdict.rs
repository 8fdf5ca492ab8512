//! The verdict of the main job, in five lines.

use crate::findings::Findings;
use crate::handler::Handler;
use crate::scenario::Scenario;
use crate::text::{milliseconds, percent};
use crate::trial::Trial;

/// At most five lines: goodput and latency at the highest load for each handler, the brown-out, and how far the
/// figures can be trusted.
pub(crate) fn lines(findings: &Findings) -> Vec<String> {
    let handlers = findings.calibrations.iter().map(|calibration| calibration.handler);
    let hardest: Vec<(Handler, Vec<&Trial>)> = handlers
        .map(|handler| (handler, hardest(findings, handler)))
        .filter(|(_, trials)| !trials.is_empty())
        .collect();
    let mut lines: Vec<String> =
        hardest.iter().map(|(handler, trials)| goodput(*handler, trials)).collect();
    lines.extend(latency(&hardest));
    lines.extend(brown_out(findings));
    lines.push(trust(findings));
    lines
}

/// The runs at the highest steady load of a handler.
fn hardest(findings: &Findings, handler: Handler) -> Vec<&Trial> {
    let steady = |trial: &&Trial| {
        trial.entry.handler == handler && trial.entry.scenario != Scenario::BrownOut
    };
    let highest = findings.trials.iter().filter(steady).map(|trial| trial.entry.scenario).max();
    let trials = findings.trials.iter().filter(steady);
    trials.filter(|trial| Some(trial.entry.scenario) == highest).collect()
}

fn goodput(handler: Handler, trials: &[&Trial]) -> String {
    let share = |trial: &&Trial| {
        format!("{} {}{}", trial.run.stack, percent(trial.run.goodput_over_ceiling), mark(trial))
    };
    let shares: Vec<String> = trials.iter().map(share).collect();
    let load = trials[0].run.scenario.replace('x', "×");
    format!(
        "{} at {load} its capacity, of what is possible: {}.",
        handler.name(),
        shares.join(", ")
    )
}

fn latency(hardest: &[(Handler, Vec<&Trial>)]) -> Option<String> {
    let p99 = |trial: &&Trial| {
        let p99 = trial.run.p99_ms.map_or_else(|| "none in time".into(), milliseconds);
        format!("{} {p99}", trial.run.stack)
    };
    let of = |(handler, trials): &(Handler, Vec<&Trial>)| {
        let all: Vec<String> = trials.iter().map(p99).collect();
        format!("{}: {}", handler.name(), all.join(", "))
    };
    let all: Vec<String> = hardest.iter().map(of).collect();
    (!all.is_empty())
        .then(|| format!("99th percentile of useful answers there, {}.", all.join("; ")))
}

fn brown_out(findings: &Findings) -> Option<String> {
    let recovery = |trial: &Trial| {
        let after = match trial.run.recovered_s {
            Some(seconds) if seconds < 0.05 => "at once".into(),
            Some(seconds) => format!("after {seconds:.1} s"),
            None => "never".into(),
        };
        format!("{} {after}{}", trial.run.stack, mark(trial))
    };
    let trials = findings.trials.iter().filter(|trial| trial.entry.scenario == Scenario::BrownOut);
    let all: Vec<String> = trials.map(recovery).collect();
    (!all.is_empty()).then(|| {
        format!("Back after a brown-out with clients that retry at once: {}.", all.join(", "))
    })
}

/// The mark of a run that other processes disturbed.
pub(crate) fn mark(trial: &Trial) -> &'static str {
    if trial.is_disturbed() { "*" } else { "" }
}

/// Why the figures may be wrong, if they may be.
pub(crate) fn doubt(findings: &Findings) -> Option<String> {
    findings.trials.iter().any(Trial::is_disturbed).then(|| trust(findings))
}

/// What other processes took, and what was done about it.
pub(crate) fn trust(findings: &Findings) -> String {
    let known = findings.trials.iter().filter_map(|trial| trial.disturbance);
    let Some(most) = known.map(|disturbance| disturbance.total()).reduce(f64::max) else {
        return "What other processes took of the CPUs is not known on this system.".into();
    };
    let repeated: u32 = findings.trials.iter().map(|trial| trial.repeated).sum();
    let disturbed = findings.trials.iter().filter(|trial| trial.is_disturbed()).count();
    let runs = findings.trials.len();
    let repeats =
        if repeated == 0 { String::new() } else { format!(" {repeated} repetitions were made.") };
    if disturbed == 0 {
        return format!(
            "Undisturbed: other processes took at most {most:.2} CPUs in any of {runs} runs.{repeats}"
        );
    }
    format!(
        "In doubt: other processes took up to {most:.2} of the storm's CPUs, and {disturbed} of {runs} runs (*) stayed disturbed.{repeats}"
    )
}
