//! The page of a storm: its verdict, charts and figures in one file.

use crate::chart::outcomes::{KEY, Outcomes};
use crate::chart::scale::Axis;
use crate::chart::{Chart, Line, Point, over_load};
use crate::report::page::{STYLE, doubtful, figure};
use crate::text::{escaped, milliseconds, percent};
use crate::url_storm::attempts::ClientKind;
use crate::url_storm::capacity::Rung;
use crate::url_storm::recovery::BUCKET;
use crate::url_storm::report::conditions;
use crate::url_storm::steps::StepResult;
use crate::url_storm::storm::Storm;
use crate::url_storm::trigger::Trigger;
use crate::url_storm::verdict::Verdict;

const TEMPLATE: &str = include_str!("page.html");

/// The page, self-contained.
pub(crate) fn page(storm: &Storm, verdict: &Verdict) -> String {
    let items = |lines: &[String]| -> String {
        lines.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect()
    };
    let headline = verdict.lines.first().map_or("", String::as_str);
    let doubt = verdict.doubt.as_deref().map(doubtful).unwrap_or_default();
    // The texts are inserted last, so that a URL which contains a placeholder is not replaced.
    TEMPLATE
        .replace("{{style}}", STYLE)
        .replace("{{curves}}", &curves(storm))
        .replace("{{recoveries}}", &recoveries(storm))
        .replace("{{figures}}", &figures(storm))
        .replace("{{notes}}", &items(&conditions(storm)))
        .replace("{{search}}", &search(storm))
        .replace(
            "{{verdict}}",
            &verdict.lines.iter().skip(1).map(|line| said(line)).collect::<String>(),
        )
        .replace("{{doubt}}", &doubt)
        .replace("{{headline}}", &escaped(headline))
        .replace("{{url}}", &escaped(&storm.url))
}

/// A line of the verdict as a row: what it is about, and what was found.
fn said(line: &str) -> String {
    let (about, found) = line.split_once(": ").unwrap_or(("", line));
    format!("<dt>{}</dt><dd>{}</dd>", escaped(about), escaped(found))
}

const fn class(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::Naive => "bare",
        ClientKind::Obedient => "client",
        ClientKind::Patient => "backpressure",
    }
}

fn load(step: &StepResult) -> Option<f64> {
    match step.trigger {
        Trigger::Load(load) => Some(load),
        Trigger::BrownOut | Trigger::Told => None,
    }
}

/// Goodput and latency over the offered load.
fn curves(storm: &Storm) -> String {
    let loads: Vec<f64> = storm.steps.iter().filter_map(load).collect();
    let (least, most) = (least(&loads), loads.iter().copied().fold(0.0, f64::max));
    if least >= most {
        return String::new();
    }
    let curves = Curves { storm, loads, least: least * 0.9, most: most * 1.1 };
    format!(
        "<section><h2>Load and what became of it</h2><div class=\"pair\">{}{}</div></section>",
        figure("Goodput, over capacity", &curves.goodput()),
        figure("p99 of good answers, from when they were due", &curves.p99()),
    )
}

fn least(loads: &[f64]) -> f64 {
    loads.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The steps at a steady load.
struct Curves<'a> {
    storm: &'a Storm,
    loads: Vec<f64>,
    /// Ends of the x axis.
    least: f64,
    most: f64,
}

impl Curves<'_> {
    fn x(&self) -> Axis {
        let mut ticks: Vec<(f64, String)> =
            self.loads.iter().map(|&load| (load, format!("{load}×"))).collect();
        ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
        ticks.dedup_by(|a, b| a.0 == b.0);
        Axis::log(self.least, self.most, ticks)
    }

    fn goodput(&self) -> Chart {
        let measured = lines(self.storm, |step, load| Point {
            x: load,
            y: step.goodput / self.storm.capacity,
            text: format!(
                "{} at {}: {:.0} good answers/s, {} of what is possible",
                step.clients,
                step.step,
                step.goodput,
                percent(step.goodput_over_possible)
            ),
            missing: false,
        });
        let knee = 1.0_f64.clamp(self.least, self.most);
        let possible = [(self.least, self.least.min(1.0)), (knee, knee), (self.most, knee)];
        let mut lines = vec![over_load::reference("ceiling", "possible", &possible)];
        lines.extend(measured);
        let highest =
            lines.iter().flat_map(|line| &line.points).map(|point| point.y).fold(1.12, f64::max);
        over_load::goodput(self.x(), highest, lines)
    }

    fn p99(&self) -> Chart {
        let (alone, deadline) = (self.storm.uncontended_p99_ms.max(0.02), self.storm.deadline_ms);
        let (from, to) = (alone / 1.6, deadline * 10.0);
        let across = |label, y: f64| {
            over_load::reference("ceiling", label, &[(self.least, y), (self.most, y)])
        };
        let mut all = vec![across("uncontended", alone), across("deadline", deadline)];
        all.extend(lines(self.storm, |step, load| Point {
            x: load,
            y: step.p99_ms.unwrap_or(deadline).clamp(from, to),
            text: step.p99_ms.map_or_else(
                || format!("{}: no good answer", step.clients),
                |p99| format!("{}: p99 {}", step.clients, milliseconds(p99)),
            ),
            missing: step.p99_ms.is_none(),
        }));
        over_load::p99(self.x(), (from, to), all)
    }
}

fn lines(storm: &Storm, point: impl Fn(&StepResult, f64) -> Point) -> Vec<Line> {
    let line = |kind: ClientKind| Line {
        class: class(kind).into(),
        label: kind.name().into(),
        points: storm
            .steps
            .iter()
            .filter(|step| step.kind == kind)
            .filter_map(|step| Some(point(step, load(step)?)))
            .collect(),
        marked: true,
    };
    ClientKind::ALL.into_iter().map(line).filter(|line| !line.points.is_empty()).collect()
}

/// Each overload over time: what became of the attempts before, during and after it.
fn recoveries(storm: &Storm) -> String {
    let steps: Vec<&StepResult> =
        storm.steps.iter().filter(|step| step.triggered.is_some()).collect();
    let figures: String =
        steps.iter().filter_map(|step| Some(figure(&heading(step), &over_time(step)?))).collect();
    if figures.is_empty() {
        return figures;
    }
    format!(
        "<section><h2>During each overload, and after it</h2>{KEY}<div class=\"pair\">{figures}</div></section>"
    )
}

fn heading(step: &StepResult) -> String {
    let back = match step.recovered_s {
        Some(0.0) => "back at once".into(),
        Some(seconds) => format!("back after {seconds:.1} s"),
        None if step.kept_away => "clients kept away".into(),
        None => "not back".into(),
    };
    format!(
        "{} with {} clients: {back}, {:.1} attempts a request",
        step.step, step.clients, step.attempts_per_request
    )
}

fn over_time(step: &StepResult) -> Option<Chart> {
    let outcomes = Outcomes {
        name: format!("{} with {} clients", step.step, step.clients),
        timeline: &step.timeline,
        bucket: BUCKET,
        overload: step.triggered?,
        overload_name: "overload",
    };
    outcomes.chart(outcomes.busiest())
}

/// The loads of the search, and what was answered of them.
fn search(storm: &Storm) -> String {
    if storm.search.is_empty() {
        return String::new();
    }
    let row = |rung: &Rung| {
        let mark = match (rung.generator_limited, rung.disturbed) {
            (true, _) => "the load generator was full",
            (false, true) => "disturbed by other processes",
            (false, false) => "",
        };
        format!(
            "<tr><td>{:.1}</td><td>{:.1}</td><td class=\"left\">{mark}</td></tr>",
            rung.offered, rung.goodput
        )
    };
    format!(
        "<details{}><summary>The search of the capacity, load by load</summary>\
         <table><thead><tr><th>offered<small>/s</small></th><th>answered<small>/s</small></th><th class=\"left\">remark</th></tr></thead>\
         <tbody>{}</tbody></table></details>",
        if storm.steps.is_empty() { " open" } else { "" },
        storm.search.iter().map(row).collect::<String>()
    )
}

/// The table of all steps.
fn figures(storm: &Storm) -> String {
    if storm.steps.is_empty() {
        return "<p>No step was measured.</p>".into();
    }
    let rows: String = storm.steps.iter().map(row).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"The figures\"><table>{HEAD}<tbody>\n{rows}</tbody></table></div>"
    )
}

/// The head of the table of all steps, which [`row`] fills.
const HEAD: &str = "<thead><tr><th>step</th><th>clients</th><th>offered<small>/s</small></th><th>goodput<small>/s</small></th>\
    <th>goodput<small>of what is possible</small></th><th>p50<small>ms</small></th><th>p99<small>ms</small></th>\
    <th>attempts<small>a request</small></th><th>refused<small>of attempts</small></th><th>late<small>of attempts</small></th>\
    <th>broken<small>of attempts</small></th><th>told<small>of refusals</small></th><th>told<small>median</small></th>\
    <th>let in<small>of those back</small></th><th>recovered<small>after</small></th><th>service<small>CPUs</small></th></tr></thead>";

fn row(step: &StepResult) -> String {
    let number =
        |value: Option<f64>| value.map_or_else(|| "–".into(), |value| format!("{value:.1}"));
    let truth = &step.retry_after;
    let of = |part: u32, whole: u32| {
        if whole == 0 { "–".into() } else { percent(f64::from(part) / f64::from(whole)) }
    };
    let cells = [
        number(Some(step.offered)),
        number(Some(step.goodput)),
        format!(
            "{:.3}{}",
            step.goodput_over_possible,
            if step.disturbed || step.generator_limited { "*" } else { "" }
        ),
        number(step.p50_ms),
        number(step.p99_ms),
        format!("{:.2}", step.attempts_per_request),
        percent(step.refused_share),
        percent(step.late_share),
        percent(step.broken_share),
        of(truth.told, truth.refusals),
        truth.told_p50_s.map_or_else(|| "–".into(), |seconds| format!("{seconds:.1} s")),
        of(truth.let_in, truth.came_back),
        step.recovery(),
        step.service_cpu.map_or_else(|| "–".into(), |cpu| format!("{cpu:.2}")),
    ];
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    format!(
        "<tr><th>{}</th><th class=\"{}\">{}</th>{cells}</tr>\n",
        escaped(&step.step),
        class(step.kind),
        step.clients
    )
}
