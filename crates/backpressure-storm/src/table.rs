//! The findings as a table for the terminal.

use crate::calibrate::{Calibration, UNDISTURBED};
use crate::cpu;
use crate::findings::Findings;
use crate::handler::Handler;
use crate::scenario::{SLOWER, Scenario};
use crate::trial::Trial;
use crate::verdict::{mark, trust};
use std::fmt::Write;

const HEADER: &str = "scenario   stack                 offered   goodput   of what is      p50        p99   p99 over   refused   attempts   recovered";
const UNITS: &str = "                                     ×C       /s      possible       ms         ms    no load       /s  a request";

/// A table for each handler, and notes on the conditions.
pub(crate) fn render(findings: &Findings) -> String {
    let mut text = String::new();
    for calibration in &findings.calibrations {
        let handler = calibration.handler;
        let trials: Vec<&Trial> =
            findings.trials.iter().filter(|trial| trial.entry.handler == handler).collect();
        if !trials.is_empty() {
            part(&mut text, handler, calibration, &trials);
        }
    }
    for note in notes(findings) {
        writeln!(text, "{note}").expect("writing to a string does not fail");
    }
    text
}

fn part(text: &mut String, handler: Handler, calibration: &Calibration, trials: &[&Trial]) {
    let rows = trials.iter().fold(String::new(), |mut rows, trial| {
        let first = trials.iter().find(|other| other.entry.scenario == trial.entry.scenario);
        let heads = first.is_some_and(|first| std::ptr::eq(*first, *trial));
        rows.push_str(&row(trial, calibration.capacity, heads));
        rows
    });
    let title = format!("{} · {}", handler.name(), handler.describe());
    writeln!(text, "\n{title}\n{HEADER}\n{UNITS}\n{rows}")
        .expect("writing to a string does not fail");
}

fn row(trial: &Trial, capacity: f64, heads: bool) -> String {
    let run = &trial.run;
    format!(
        "{:<10} {:<20} {:>8.2} {:>9.1} {:>12.3}{:<1} {:>7} {:>10} {:>10} {:>9.1} {:>10.2} {:>11}\n",
        if heads { run.scenario } else { "" },
        run.stack,
        run.offered / capacity,
        run.goodput,
        run.goodput_over_ceiling,
        mark(trial),
        known(run.p50_ms, 1),
        known(run.p99_ms, 1),
        known(run.p99_over_uncontended, 2),
        run.shed,
        run.attempts_per_request,
        recovered(trial),
    )
}

fn known(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.decimals$}"))
}

/// The recovery as text; empty without a brown-out.
pub(crate) fn recovered(trial: &Trial) -> String {
    match (trial.entry.scenario, trial.run.recovered_s) {
        (Scenario::BrownOut, Some(seconds)) => format!("{seconds:.2} s"),
        (Scenario::BrownOut, None) => "never".into(),
        _ => String::new(),
    }
}

/// One line about a run.
pub(crate) fn line(trial: &Trial) -> String {
    let run = &trial.run;
    let name = format!("{} {}", run.handler, run.scenario);
    let mut line = format!(
        "{name:<14} {:<20} {:>7.1}/s good of {:>7.1}/s offered",
        run.stack, run.goodput, run.offered
    );
    let back = recovered(trial);
    if !back.is_empty() {
        write!(line, ", recovered: {back}").expect("writing to a string does not fail");
    }
    line
}

/// One line about a calibration.
pub(crate) fn calibration(found: &Calibration) -> String {
    let limit = found
        .tower_limit
        .map_or_else(String::new, |limit| format!(", best limit for tower {limit}"));
    format!(
        "{}: C = {:.1}/s, uncontended p50 {:.1} ms and p99 {:.1} ms, a refusal {:.1} µs of {:.2} ms (r = {:.2} %){limit}",
        found.handler.name(),
        found.capacity,
        found.uncontended_p50.as_secs_f64() * 1e3,
        found.uncontended_p99.as_secs_f64() * 1e3,
        found.refusal.as_secs_f64() * 1e6,
        found.service.as_secs_f64() * 1e3,
        found.r() * 100.0,
    )
}

/// The conditions of the storm, and what may have disturbed it.
pub(crate) fn notes(findings: &Findings) -> Vec<String> {
    let most = |of: fn(&Trial) -> f64| findings.trials.iter().map(of).fold(0.0, f64::max);
    let lag = most(|trial| trial.lag.as_secs_f64() * 1e3);
    let mut notes: Vec<String> = findings.calibrations.iter().map(calibration).collect();
    notes.push(trust(findings));
    notes.push(format!(
        "The generator took at most {:.0} % of {}, and sent 99 % of the requests within {lag:.1} ms of when they were due.",
        most(|trial| trial.generator_cpu) * 100.0,
        if findings.separate_cpus { "a CPU of its own" } else { "the one CPU it shares with the server" },
    ));
    let least = findings.calibrations.iter().map(Calibration::cpu_at_capacity).fold(1.0, f64::min);
    if cpu::CLOCKS && least < UNDISTURBED {
        notes.push(format!(
            "Other processes were busy on this machine: at capacity the server got only {:.0} % of its CPU. The figures are \
             noisy, and those of different stacks hardly comparable.",
            least * 100.0
        ));
    }
    notes.push(format!(
        "Good is a 200 within {} ms. In the brown-out work takes {SLOWER} times as long.",
        findings.timing.deadline.as_millis()
    ));
    if findings.quick {
        notes.push(
            "A quick storm: fewer loads and shorter measurements, and the figures are noisier."
                .into(),
        );
    }
    if findings.interrupted {
        notes.push("Interrupted: these are the runs that finished.".into());
    }
    notes
}
