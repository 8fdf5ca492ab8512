//! The charts of the page.

use crate::calibrate::Calibration;
use crate::chart::scale::{Axis, decades, round_steps};
use crate::chart::{Area, Band, Chart, Line, Point};
use crate::event_log::Counts;
use crate::findings::Findings;
use crate::plan::{BASE, SLOWER, Scenario};
use crate::score::{SMOOTH, ceiling};
use crate::stack::Stack;
use crate::text::{milliseconds, percent};
use crate::trial::Trial;
use std::borrow::Cow;

/// Space for the numbers beside a chart.
pub(crate) const LEFT: f64 = 62.0;

/// The CSS class of a stack.
pub(super) const fn class(stack: Stack) -> &'static str {
    match stack {
        Stack::Bare => "bare",
        Stack::Tower => "tower",
        Stack::Backpressure => "backpressure",
        Stack::BackpressureClient => "client",
    }
}

/// The steady runs of one handler.
#[derive(Debug)]
pub(super) struct Curves<'a> {
    pub(super) findings: &'a Findings,
    pub(super) calibration: &'a Calibration,
}

impl Curves<'_> {
    fn trials(&self, stack: Stack) -> Vec<&Trial> {
        let ours = |trial: &&Trial| {
            trial.entry.handler == self.calibration.handler && trial.entry.stack == stack
        };
        self.findings
            .trials
            .iter()
            .filter(ours)
            .filter(|trial| trial.entry.scenario != Scenario::BrownOut)
            .collect()
    }

    /// One line per stack.
    fn lines(&self, point: impl Fn(&Trial) -> Point) -> Vec<Line> {
        let stacks = self.findings.stacks().into_iter();
        let line = |stack: Stack| Line {
            class: class(stack).into(),
            label: stack.name().into(),
            points: self.trials(stack).into_iter().map(&point).collect(),
            marked: true,
        };
        stacks.map(line).filter(|line| !line.points.is_empty()).collect()
    }

    fn x_axis() -> Axis {
        let ticks = [(0.5, "½×"), (1.0, "1×"), (2.0, "2×"), (5.0, "5×"), (10.0, "10×")];
        Axis::log(0.45, 11.0, ticks.map(|(value, name)| (value, name.to_owned())).to_vec())
    }

    fn chart(title: &str, y: Axis, lines: Vec<Line>) -> Chart {
        Chart {
            title: title.into(),
            width: 540.0,
            height: 330.0,
            left: LEFT,
            right: 150.0,
            x: Self::x_axis(),
            x_label: "offered load, over capacity".into(),
            y,
            bands: vec![],
            areas: vec![],
            lines,
        }
    }

    /// Goodput over offered load, both over capacity, below the ceiling.
    pub(super) fn goodput(&self) -> Chart {
        let (capacity, r) = (self.calibration.capacity, self.calibration.r());
        let possible = (0..=60).map(|step| 0.45 * (11.0_f64 / 0.45).powf(f64::from(step) / 60.0));
        let possible = possible.map(|load| Point::plain(load, ceiling(load, r))).collect();
        let mut lines = vec![Line {
            class: "ceiling".into(),
            label: "possible".into(),
            points: possible,
            marked: false,
        }];
        lines.extend(self.lines(|trial| Point {
            x: trial.entry.scenario.load(),
            y: trial.run.goodput / capacity,
            text: format!(
                "{}: {:.0} good answers/s, {} of what is possible",
                trial.run.stack,
                trial.run.goodput,
                percent(trial.run.goodput_over_ceiling)
            ),
            missing: false,
        }));
        let ticks = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| (share, percent(share))).to_vec();
        Self::chart("Goodput over offered load", Axis::linear(0.0, 1.12, ticks), lines)
    }

    /// 99th percentile of good answers over offered load; a cross if there was none.
    pub(super) fn p99(&self) -> Chart {
        let deadline = self.findings.timing.deadline.as_secs_f64() * 1e3;
        let alone = self.calibration.uncontended_p99.as_secs_f64() * 1e3;
        let (from, to) = (alone / 1.6, deadline * 1.6);
        let across = |class, label: &str, y: f64| Line {
            class: Cow::Borrowed(class),
            label: label.into(),
            points: vec![Point::plain(0.45, y), Point::plain(11.0, y)],
            marked: false,
        };
        let mut lines =
            vec![across("ceiling", "uncontended", alone), across("limit", "deadline", deadline)];
        lines.extend(self.lines(|trial| Point {
            x: trial.entry.scenario.load(),
            y: trial.run.p99_ms.unwrap_or(deadline),
            text: trial.run.p99_ms.map_or_else(
                || format!("{}: no good answer", trial.run.stack),
                |p99| format!("{}: p99 {}", trial.run.stack, milliseconds(p99)),
            ),
            missing: trial.run.p99_ms.is_none(),
        }));
        let ticks = decades(from, to)
            .into_iter()
            .map(|ms| (ms, milliseconds(ms).replace(".0 ", " ")))
            .collect();
        Self::chart(
            "99th percentile of latency over offered load",
            Axis::log(from, to, ticks),
            lines,
        )
    }
}

/// Goodput of all stacks over time through the brown-out, and the ceiling.
pub(super) fn brown_out(
    findings: &Findings,
    trials: &[&Trial],
    calibration: &Calibration,
) -> Option<Chart> {
    let slow = trials.first()?.slow?;
    let bucket = findings.timing.bucket.as_secs_f64();
    let (from, to) = (
        -slow.from.as_secs_f64(),
        findings.timing.end(Scenario::BrownOut).as_secs_f64() - slow.from.as_secs_f64(),
    );
    let asked = BASE * calibration.capacity;
    let dark = calibration.capacity / SLOWER as f64;
    let edge = slow.seconds();
    let possible =
        [(from, asked), (0.0, asked), (0.0, dark), (edge, dark), (edge, asked), (to, asked)];
    let possible = possible.map(|(x, y)| Point::plain(x, y)).to_vec();
    let mut lines = vec![Line {
        class: "ceiling".into(),
        label: "possible".into(),
        points: possible,
        marked: false,
    }];
    lines.extend(trials.iter().map(|trial| Line {
        class: class(trial.entry.stack).into(),
        label: trial.run.stack.into(),
        points: smoothed(&trial.timeline, |counts| counts.answered, bucket, from),
        marked: false,
    }));
    let most =
        lines.iter().flat_map(|line| &line.points).map(|point| point.y).fold(asked, f64::max);
    Some(Chart {
        title: "Goodput over time, through a brown-out".into(),
        width: 1100.0,
        height: 400.0,
        left: LEFT,
        right: 160.0,
        x: Axis::linear(from, to, seconds(from, to)),
        x_label: "seconds since the brown-out began".into(),
        y: per_second(most * 1.1),
        bands: vec![Band { from: 0.0, to: edge, label: format!("work takes {SLOWER}× as long") }],
        areas: vec![],
        lines,
    })
}

/// Outcomes of the attempts of one stack over time, on the scale of the busiest stack.
pub(super) fn attempts(findings: &Findings, trial: &Trial, most: f64) -> Option<Chart> {
    let slow = trial.slow?;
    let bucket = findings.timing.bucket.as_secs_f64();
    let from = -slow.from.as_secs_f64();
    let to = from + findings.timing.end(Scenario::BrownOut).as_secs_f64();
    let good = smoothed(&trial.timeline, |counts| counts.answered, bucket, from);
    let refused =
        smoothed(&trial.timeline, |counts| counts.answered + counts.refused, bucket, from);
    let lost = smoothed(
        &trial.timeline,
        |counts| counts.answered + counts.refused + counts.late + counts.broken,
        bucket,
        from,
    );
    let zero = good.iter().map(|point| Point::plain(point.x, 0.0)).collect::<Vec<_>>();
    Some(Chart {
        title: format!("Outcomes of the attempts: {}", trial.run.stack),
        width: 540.0,
        height: 230.0,
        left: LEFT,
        right: 20.0,
        x: Axis::linear(from, to, seconds(from, to)),
        x_label: "seconds since the brown-out began".into(),
        y: per_second(most),
        bands: vec![Band { from: 0.0, to: slow.seconds(), label: String::new() }],
        areas: vec![
            between(class(trial.entry.stack), &zero, &good),
            between("refused", &good, &refused),
            between("lost", &refused, &lost),
        ],
        lines: vec![],
    })
}

/// Most attempts per second that ended in any of the runs.
pub(super) fn busiest(findings: &Findings, trials: &[&Trial]) -> f64 {
    let ended = |counts: &Counts| counts.answered + counts.refused + counts.late + counts.broken;
    let points = trials.iter().flat_map(|trial| {
        smoothed(&trial.timeline, ended, findings.timing.bucket.as_secs_f64(), 0.0)
    });
    points.map(|point| point.y).fold(1.0, f64::max)
}

pub(crate) fn between(class: &'static str, lower: &[Point], upper: &[Point]) -> Area {
    Area {
        class,
        edges: lower.iter().zip(upper).map(|(lower, upper)| (lower.x, lower.y, upper.y)).collect(),
    }
}

/// A rate over time, smoothed over the same second over which recovery is judged.
pub(crate) fn smoothed(
    timeline: &[Counts],
    count: impl Fn(&Counts) -> u32,
    bucket: f64,
    from: f64,
) -> Vec<Point> {
    let middle = SMOOTH as f64 / 2.0;
    let rate = |few: &[Counts]| {
        f64::from(few.iter().map(&count).sum::<u32>()) / (few.len() as f64 * bucket)
    };
    let seconds = timeline.windows(SMOOTH).enumerate();
    seconds
        .map(|(first, few)| Point::plain(from + (first as f64 + middle) * bucket, rate(few)))
        .collect()
}

pub(crate) fn per_second(most: f64) -> Axis {
    Axis::linear(
        0.0,
        most,
        round_steps(most).into_iter().map(|rate| (rate, format!("{rate:.0}/s"))).collect(),
    )
}

pub(crate) fn seconds(from: f64, to: f64) -> Vec<(f64, String)> {
    let step = if to - from > 8.0 { 2.0 } else { 0.5 };
    let first = (from / step).ceil() as i32;
    let last = (to / step).floor() as i32;
    (first..=last)
        .map(|count| f64::from(count) * step)
        .map(|second| (second, format!("{second}")))
        .collect()
}
