//! The charts of goodput and of latency over the offered load.

use crate::chart::scale::{Axis, decades};
use crate::chart::{Chart, LEFT, Line, Point};
use crate::text::{milliseconds, percent};

/// Goodput over the offered load, both over capacity.
pub(crate) fn goodput(x: Axis, highest: f64, lines: Vec<Line>) -> Chart {
    let shares = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| (share, percent(share))).to_vec();
    over_load("Goodput over offered load", x, Axis::linear(0.0, highest, shares), lines)
}

/// The 99th percentile of latency over the offered load, between two latencies in milliseconds.
pub(crate) fn p99(x: Axis, (from, to): (f64, f64), lines: Vec<Line>) -> Chart {
    let ticks = decades(from, to).into_iter().map(|ms| (ms, milliseconds(ms).replace(".0 ", " ")));
    let y = Axis::log(from, to, ticks.collect());
    over_load("99th percentile of latency over offered load", x, y, lines)
}

/// A line that was not measured: what is possible, or a bound.
pub(crate) fn reference(class: &'static str, label: &str, points: &[(f64, f64)]) -> Line {
    let points = points.iter().map(|&(x, y)| Point::plain(x, y)).collect();
    Line { class: class.into(), label: label.into(), points, marked: false }
}

fn over_load(title: &str, x: Axis, y: Axis, lines: Vec<Line>) -> Chart {
    Chart {
        title: title.into(),
        width: 540.0,
        height: 330.0,
        left: LEFT,
        right: 150.0,
        x,
        x_label: "offered load, over capacity".into(),
        y,
        bands: vec![],
        areas: vec![],
        lines,
    }
}
