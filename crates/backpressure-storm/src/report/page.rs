//! The page: charts, remarks on them, and the figures behind them.

use super::charts::{self, Curves, class};
use crate::calibrate::Calibration;
use crate::chart::Chart;
use crate::chart::outcomes::KEY;
use crate::findings::Findings;
use crate::handler::Handler;
use crate::scenario::{BASE, SLOWER, Scenario};
use crate::stack::Stack;
use crate::table;
use crate::text::{escaped, milliseconds, percent};
use crate::trial::Trial;
use crate::verdict::{self, mark};

const TEMPLATE: &str = include_str!("page.html");
/// Shared with the page of `storm URL`.
pub(crate) const STYLE: &str = include_str!("style.css");

/// The page, self-contained.
pub(super) fn page(findings: &Findings) -> String {
    let notes: String =
        table::notes(findings).iter().map(|note| format!("<li>{}</li>", escaped(note))).collect();
    let handlers: String =
        findings.calibrations.iter().map(|calibration| handler(findings, calibration)).collect();
    TEMPLATE
        .replace("{{style}}", STYLE)
        .replace("{{headline}}", &escaped(&headline(findings)))
        .replace("{{doubt}}", &doubt(findings))
        .replace("{{legend}}", &legend(findings))
        .replace("{{brown-out}}", &brown_out(findings).unwrap_or_default())
        .replace("{{handlers}}", &handlers)
        .replace("{{table}}", &rows(findings))
        .replace("{{notes}}", &notes)
}

/// The highest load, in one sentence.
fn headline(findings: &Findings) -> String {
    let steady = findings.trials.iter().filter(|trial| trial.entry.scenario != Scenario::BrownOut);
    let Some(hardest) = steady.max_by_key(|trial| (trial.entry.scenario, trial.entry.handler))
    else {
        return "A service through a brown-out".into();
    };
    let beside = findings.trials.iter().filter(|trial| {
        (trial.entry.scenario, trial.entry.handler)
            == (hardest.entry.scenario, hardest.entry.handler)
    });
    let shares: Vec<String> = beside
        .map(|trial| format!("{} {}", trial.run.stack, percent(trial.run.goodput_over_ceiling)))
        .collect();
    let load = hardest.run.scenario.replace('x', "×");
    format!("At {load} its capacity, of what is possible: {}", shares.join(", "))
}

fn doubt(findings: &Findings) -> String {
    verdict::doubt(findings).map(|why| doubtful(&why)).unwrap_or_default()
}

/// A paragraph that says before all figures why they may be wrong.
pub(crate) fn doubtful(why: &str) -> String {
    format!("<p class=\"doubt\">{}</p>", escaped(why))
}

fn legend(findings: &Findings) -> String {
    let item = |stack: Stack| {
        format!(
            "<li class=\"{}\"><b>{}</b> {}</li>",
            class(stack),
            escaped(stack.name()),
            escaped(stack.describe())
        )
    };
    findings.stacks().into_iter().map(item).collect()
}

pub(crate) fn figure(heading: &str, chart: &Chart) -> String {
    format!("<figure><figcaption>{}</figcaption>{}</figure>", escaped(heading), chart.svg())
}

/// The brown-out: which stacks recover, and which do not.
fn brown_out(findings: &Findings) -> Option<String> {
    let trials: Vec<&Trial> =
        findings.trials.iter().filter(|trial| trial.entry.scenario == Scenario::BrownOut).collect();
    let calibration = findings.calibrations.iter().find(|calibration| {
        calibration.handler == trials.first().map_or(Handler::Mix, |trial| trial.entry.handler)
    })?;
    let whole = charts::brown_out(findings, &trials, calibration)?;
    let outcomes = |trial| charts::outcomes(findings, trial);
    // All on the scale of the busiest.
    let most = trials.iter().filter_map(|trial| Some(outcomes(trial)?.busiest()));
    let most = most.fold(1.0, f64::max);
    let each = trials
        .iter()
        .filter_map(|trial| Some(figure(&recovery(trial), &outcomes(trial)?.chart(most)?)));
    let each: String = each.collect();
    let seconds = trials.first()?.slow?.seconds();
    Some(format!(
        "<section><h2>{}</h2><p>For {seconds:.0} seconds every millisecond of work takes {SLOWER}. Clients send {} of the capacity all the \
         time and retry failed requests at once. Then the work is as fast as before.</p>{}\
         {KEY}<div class=\"pair\">{each}</div></section>",
        escaped(&recoveries(&trials)),
        percent(BASE),
        figure("Goodput, requests a second", &whole),
    ))
}

fn recoveries(trials: &[&Trial]) -> String {
    let of = |back: bool| -> Vec<&str> {
        trials
            .iter()
            .filter(|trial| trial.run.recovered_s.is_some() == back)
            .map(|trial| trial.run.stack)
            .collect()
    };
    match (of(true), of(false)) {
        (back, lost) if lost.is_empty() => {
            format!("After the brown-out {} recovered", and(&back))
        }
        (back, lost) if back.is_empty() => {
            format!("After the brown-out {} did not recover", and(&lost))
        }
        (back, lost) => {
            format!("After the brown-out {} recovered, {} did not", and(&back), and(&lost))
        }
    }
}

fn and(names: &[&str]) -> String {
    match names {
        [] => "none".into(),
        [only] => (*only).into(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn recovery(trial: &Trial) -> String {
    let attempts = trial.run.attempts_per_request;
    let back = match trial.run.recovered_s {
        Some(0.0) => "recovered at once".into(),
        Some(seconds) => format!("recovered after {seconds:.1} s"),
        None => "did not recover".into(),
    };
    format!("{}: {back}, {attempts:.1} attempts a request", trial.run.stack)
}

/// The charts of one handler.
fn handler(findings: &Findings, calibration: &Calibration) -> String {
    let curves = Curves { findings, calibration };
    let (goodput, p99) = (curves.goodput(), curves.p99());
    if goodput.lines.len() < 2 {
        return String::new();
    }
    format!(
        "<section><h2>{}</h2><p>{}</p><div class=\"pair\">{}{}</div></section>",
        escaped(&format!("{}: {}", calibration.handler.name(), calibration.handler.describe())),
        escaped(&remark(findings, calibration)),
        figure("Goodput, over capacity", &goodput),
        figure("p99 of good answers", &p99),
    )
}

/// Remarks on the charts of a handler, made from their figures.
fn remark(findings: &Findings, calibration: &Calibration) -> String {
    let hardest = |stack: Stack| {
        let ours = |trial: &&Trial| {
            trial.entry.handler == calibration.handler && trial.entry.stack == stack
        };
        findings
            .trials
            .iter()
            .filter(ours)
            .filter(|trial| trial.run.scenario != Scenario::BrownOut.name())
            .max_by_key(|trial| trial.entry.scenario)
    };
    let mut remark = match calibration.handler {
        Handler::Cpu => "The handler never awaits: a connection runs it to the end before the next connection is read. A limit that \
                         counts requests in flight never sees more than one, and the queue is in the sockets."
            .to_owned(),
        Handler::Mix => "The handler waits most of the time, so that a limit can see what is in flight.".to_owned(),
    };
    for stack in findings.stacks().into_iter().filter(|stack| *stack != Stack::Bare) {
        if let Some(trial) = hardest(stack) {
            let p99 = trial.run.p99_ms.map_or_else(|| "none good".into(), milliseconds);
            let refused = percent(
                trial.run.shed / (trial.run.offered * trial.run.attempts_per_request).max(1.0),
            );
            remark += &format!(
                " At {} {} refused {refused} of the attempts; p99 {p99}.",
                trial.run.scenario.replace('x', "×"),
                trial.run.stack
            );
        }
    }
    remark
}

fn rows(findings: &Findings) -> String {
    findings.trials.iter().map(|trial| row(findings, trial)).collect()
}

fn row(findings: &Findings, trial: &Trial) -> String {
    let run = &trial.run;
    let before = findings.trials.iter().take_while(|other| !std::ptr::eq(*other, trial)).last();
    let heads = before.is_none_or(|before| {
        (before.entry.scenario, before.entry.handler) != (trial.entry.scenario, trial.entry.handler)
    });
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or_else(|| "–".into(), |value| format!("{value:.decimals$}"))
    };
    let share = run.goodput_over_ceiling.clamp(0.0, 1.0) * 100.0;
    let cells = [
        number(Some(run.offered), 0),
        number(Some(run.goodput), 0),
        format!(
            "<i class=\"bar {}\" style=\"width:{share:.0}%\"></i><span>{}{}</span>",
            class(trial.entry.stack),
            number(Some(run.goodput_over_ceiling), 3),
            mark(trial)
        ),
        number(run.p50_ms, 1),
        number(run.p99_ms, 1),
        number(run.p99_over_uncontended, 2),
        number(Some(run.shed), 0),
        number(Some(run.attempts_per_request), 2),
        escaped(&table::recovered(trial)),
        percent(trial.generator_cpu),
        percent(trial.server_cpu),
    ];
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    let (first, name) = if heads {
        let name = escaped(&format!("{} {}", run.handler, run.scenario));
        (" class=\"first\"", format!("<th>{name}</th>"))
    } else {
        ("", "<td></td>".to_owned())
    };
    format!(
        "<tr{first}>{name}<th class=\"{}\">{}</th>{cells}</tr>\n",
        class(trial.entry.stack),
        escaped(run.stack)
    )
}
