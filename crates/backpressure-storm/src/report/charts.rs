//! The charts of the page.

use crate::calibrate::Calibration;
use crate::chart::outcomes::{Outcomes, per_second, seconds, smoothed};
use crate::chart::scale::Axis;
use crate::chart::{Band, Chart, LEFT, Line, Point, over_load};
use crate::findings::Findings;
use crate::scenario::{BASE, SLOWER, Scenario};
use crate::score::ceiling;
use crate::stack::Stack;
use crate::text::{milliseconds, percent};
use crate::trial::Trial;

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

    /// Goodput over offered load, both over capacity, below the ceiling.
    pub(super) fn goodput(&self) -> Chart {
        let (capacity, r) = (self.calibration.capacity, self.calibration.r());
        let possible = (0..=60).map(|step| 0.45 * (11.0_f64 / 0.45).powf(f64::from(step) / 60.0));
        let possible: Vec<_> = possible.map(|load| (load, ceiling(load, r))).collect();
        let mut lines = vec![over_load::reference("ceiling", "possible", &possible)];
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
        over_load::goodput(Self::x_axis(), 1.12, lines)
    }

    /// 99th percentile of good answers over offered load; a cross if there was none.
    pub(super) fn p99(&self) -> Chart {
        let deadline = self.findings.timing.deadline.as_secs_f64() * 1e3;
        let alone = self.calibration.uncontended_p99.as_secs_f64() * 1e3;
        let (from, to) = (alone / 1.6, deadline * 1.6);
        let across =
            |class, label, y: f64| over_load::reference(class, label, &[(0.45, y), (11.0, y)]);
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
        over_load::p99(Self::x_axis(), (from, to), lines)
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
    let mut lines = vec![over_load::reference("ceiling", "possible", &possible)];
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

/// Outcomes of the attempts of one stack over time.
pub(super) fn outcomes<'a>(findings: &Findings, trial: &'a Trial) -> Option<Outcomes<'a>> {
    Some(Outcomes {
        name: trial.run.stack.into(),
        timeline: &trial.timeline,
        bucket: findings.timing.bucket,
        overload: trial.slow?,
        overload_name: "brown-out",
    })
}
