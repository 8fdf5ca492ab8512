//! The small multiples of a scenario: four charts with every controller's course in it.

use super::palette::{class, place};
use super::standing::Standing;
use crate::chart::scale::{Axis, powers, round_steps};
use crate::chart::{Chart, Line, Point};
use crate::run::Moment;
use crate::text::seconds;

/// So many points a line at most: more than a chart this small can show; and so many at least.
const POINTS: usize = 200;
const FEWEST: usize = 50;
/// So many points in all, of some ten bytes each.
const ALL_POINTS: usize = 800_000;
/// Levels above are drawn at the edge.
const HIGHEST: f64 = 1e5;

/// What a chart shows of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aspect {
    Goodput,
    P99,
    Limit,
    InFlight,
}

const ASPECTS: [(Aspect, &str); 4] = [
    (Aspect::Goodput, "Goodput, over capacity"),
    (Aspect::P99, "p99"),
    (Aspect::Limit, "Limit"),
    (Aspect::InFlight, "In flight"),
];

impl Aspect {
    fn of(self, moment: &Moment) -> f64 {
        match self {
            Self::Goodput => moment.goodput,
            Self::P99 => moment.p99,
            Self::Limit => moment.limit,
            Self::InFlight => moment.in_flight,
        }
    }

    /// Whether there is something to draw: nobody may have been answered, or nothing bound.
    fn is_there(self, value: f64) -> bool {
        value.is_finite() && (self != Self::P99 || value > 0.0)
    }

    fn axis(self, values: &[f64]) -> Axis {
        let most = values.iter().copied().fold(0.0, f64::max);
        match self {
            Self::Goodput => {
                let most = most.clamp(1.0, 2.0) * 1.05;
                let ticks = round_steps(most).into_iter().map(|tick| (tick, format!("{tick}")));
                Axis::linear(0.0, most, ticks.collect())
            }
            Self::P99 => {
                let least = values.iter().copied().fold(f64::INFINITY, f64::min).clamp(1e-5, 1e3);
                let most = most.max(least * 10.0);
                let ticks = powers(least, most).into_iter().map(|tick| (tick, seconds(tick)));
                Axis::log(least / 1.2, most * 1.2, ticks.collect())
            }
            Self::Limit | Self::InFlight => {
                let most = most.clamp(10.0, HIGHEST);
                let ticks = powers(1.0, most).into_iter().map(|tick| (tick, format!("{tick}")));
                Axis::log(0.9, most * 1.2, ticks.collect())
            }
        }
    }
}

/// A course, ready to be drawn.
#[derive(Debug)]
struct Course<'a> {
    controller: &'a str,
    class: String,
    moments: Vec<Moment>,
}

/// The four charts of a scenario, each with its heading.
pub(super) fn multiples(standing: &Standing<'_>, scenario: &str) -> Vec<(&'static str, Chart)> {
    let lines = standing.scenarios.len() * standing.ranking.len() * ASPECTS.len();
    let points = (ALL_POINTS / lines.max(1)).clamp(FEWEST, POINTS);
    let courses = courses(standing, scenario, points);
    ASPECTS
        .into_iter()
        .filter_map(|(aspect, heading)| {
            Some((heading, chart(aspect, heading, scenario, &courses)?))
        })
        .collect()
}

/// The faint ones first, so that ours is drawn over all others.
fn courses<'a>(standing: &'a Standing<'_>, scenario: &str, points: usize) -> Vec<Course<'a>> {
    let mut courses: Vec<Course<'_>> = standing
        .ranking
        .iter()
        .enumerate()
        .filter_map(|(rank, controller)| {
            let controller = controller.controller;
            let moments = coarse(&standing.cell(scenario, controller)?.shown.course, points);
            Some(Course { controller, class: class(rank, controller), moments })
        })
        .filter(|course| !course.moments.is_empty())
        .collect();
    courses.sort_by_key(|course| place(course.controller));
    courses
}

/// At most so many moments, each the mean of those it stands for; of latencies the worst.
fn coarse(course: &[Moment], points: usize) -> Vec<Moment> {
    let many = course.len().div_ceil(points).max(1);
    let mean =
        |few: &[Moment], of: fn(&Moment) -> f64| few.iter().map(of).sum::<f64>() / few.len() as f64;
    course
        .chunks(many)
        .map(|few| Moment {
            at: mean(few, |moment| moment.at),
            offered: mean(few, |moment| moment.offered),
            goodput: mean(few, |moment| moment.goodput),
            ceiling: mean(few, |moment| moment.ceiling),
            limit: mean(few, |moment| moment.limit),
            in_flight: mean(few, |moment| moment.in_flight),
            queued: mean(few, |moment| moment.queued),
            p99: few.iter().map(|moment| moment.p99).fold(0.0, f64::max),
        })
        .collect()
}

fn chart(aspect: Aspect, heading: &str, scenario: &str, courses: &[Course<'_>]) -> Option<Chart> {
    let values: Vec<f64> = courses
        .iter()
        .flat_map(|course| course.moments.iter().map(|moment| aspect.of(moment)))
        .filter(|value| aspect.is_there(*value))
        .collect();
    let span = courses.iter().filter_map(|course| course.moments.last()).map(|moment| moment.at);
    let end = span.fold(0.0, f64::max);
    if end <= 0.0 {
        return None;
    }
    let mut lines: Vec<Line> = courses.iter().flat_map(|course| strokes(aspect, course)).collect();
    if aspect == Aspect::Goodput {
        lines.extend(ceiling(courses.last()?));
    }
    let ticks = round_steps(end).into_iter().map(|tick| (tick, format!("{tick} s"))).collect();
    Some(Chart {
        title: format!("{heading} over time, {scenario}"),
        width: 300.0,
        height: 190.0,
        left: 50.0,
        right: 12.0,
        x: Axis::linear(0.0, end, ticks),
        x_label: String::new(),
        y: aspect.axis(&values),
        bands: vec![],
        areas: vec![],
        lines,
    })
}

fn ceiling(course: &Course<'_>) -> Option<Line> {
    let points = course.moments.iter().map(|moment| Point::plain(moment.at, moment.ceiling));
    Some(line("ceiling".into(), points.collect()))
}

/// A line for every stretch without a gap.
fn strokes(aspect: Aspect, course: &Course<'_>) -> Vec<Line> {
    course
        .moments
        .split(|moment| !aspect.is_there(aspect.of(moment)))
        .filter(|stretch| !stretch.is_empty())
        .map(|stretch| {
            // Drawn from a point to itself, a line is a dot.
            let alone = stretch.first().filter(|_| stretch.len() == 1);
            let points = stretch.iter().chain(alone);
            let points = points.map(|moment| Point::plain(moment.at, aspect.of(moment)));
            line(course.class.clone(), points.collect())
        })
        .collect()
}

fn line(class: String, points: Vec<Point>) -> Line {
    Line { class: class.into(), label: String::new(), points, marked: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_course_becomes_few_moments_and_no_latency_is_averaged_away() {
        let course: Vec<Moment> = (0..1_001)
            .map(|at| Moment {
                at: f64::from(at),
                p99: if at == 500 { 9.0 } else { 1.0 },
                ..Moment::default()
            })
            .collect();
        let few = coarse(&course, POINTS);
        assert!(few.len() <= POINTS, "{}", few.len());
        assert_eq!(few.iter().filter(|moment| moment.p99 > 8.0).count(), 1);
    }

    #[test]
    fn a_line_has_a_gap_where_nobody_was_answered() {
        let p99 = [1.0, 1.0, 1.0, 0.0, 2.0];
        let moments = p99.map(|p99| Moment { p99, ..Moment::default() }).to_vec();
        let course = Course { controller: "bold", class: "k0".into(), moments };
        let lengths: Vec<usize> =
            strokes(Aspect::P99, &course).iter().map(|line| line.points.len()).collect();
        assert_eq!(lengths, [3, 2]);
    }
}
