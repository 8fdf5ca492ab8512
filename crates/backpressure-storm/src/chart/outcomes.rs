//! The chart of what became of attempts over time, through an overload.

use crate::chart::scale::{Axis, round_steps};
use crate::chart::{Area, Band, Chart, LEFT, Point};
use crate::event_log::{Counts, Window};
use crate::score::SMOOTH;
use std::time::Duration;

/// What the colours of these charts mean, once for a page. The hatching is for eyes that tell the colours apart badly.
pub(crate) const KEY: &str = r#"<p class="key">Outcome of every attempt: <span class="good">answered in time</span> <span class="refused">refused</span> <span class="lost">late or lost</span></p>
<svg class="defs" aria-hidden="true" width="0" height="0"><defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-ground" width="6" height="6"/><rect class="hatch-line" width="2" height="6"/></pattern></defs></svg>"#;

/// What became of the attempts of one run.
#[derive(Debug)]
pub(crate) struct Outcomes<'a> {
    /// The attempts of which run, for screen readers.
    pub(crate) name: String,
    /// Counts of each `bucket` since the start of the run.
    pub(crate) timeline: &'a [Counts],
    pub(crate) bucket: Duration,
    /// The overload. The time axis begins with it.
    pub(crate) overload: Window,
    /// What the overload is called.
    pub(crate) overload_name: &'static str,
}

impl Outcomes<'_> {
    /// Most attempts per second that ended.
    pub(crate) fn busiest(&self) -> f64 {
        self.rate(ended).iter().map(|point| point.y).fold(1.0, f64::max)
    }

    /// The chart, for at most so many attempts per second; `None` for a run that is too short to be smoothed.
    pub(crate) fn chart(&self, most: f64) -> Option<Chart> {
        if self.timeline.len() < SMOOTH {
            return None;
        }
        let good = self.rate(|counts| counts.answered);
        let refused = self.rate(|counts| counts.answered + counts.refused);
        let lost = self.rate(ended);
        let zero: Vec<Point> = good.iter().map(|point| Point::plain(point.x, 0.0)).collect();
        let from = self.from();
        let to = from + self.timeline.len() as f64 * self.bucket.as_secs_f64();
        Some(Chart {
            title: format!("Outcomes of the attempts: {}", self.name),
            width: 540.0,
            height: 230.0,
            left: LEFT,
            right: 20.0,
            x: Axis::linear(from, to, seconds(from, to)),
            x_label: format!("seconds since the {} began", self.overload_name),
            y: per_second(most),
            bands: vec![Band { from: 0.0, to: self.overload.seconds(), label: String::new() }],
            areas: vec![
                between("good", &zero, &good),
                between("refused", &good, &refused),
                between("lost", &refused, &lost),
            ],
            lines: vec![],
        })
    }

    fn from(&self) -> f64 {
        -self.overload.from.as_secs_f64()
    }

    fn rate(&self, count: impl Fn(&Counts) -> u32) -> Vec<Point> {
        smoothed(self.timeline, count, self.bucket.as_secs_f64(), self.from())
    }
}

const fn ended(counts: &Counts) -> u32 {
    counts.answered + counts.refused + counts.late + counts.broken
}

fn between(class: &'static str, lower: &[Point], upper: &[Point]) -> Area {
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

/// An axis of rates up to `most`.
pub(crate) fn per_second(most: f64) -> Axis {
    Axis::linear(
        0.0,
        most,
        round_steps(most).into_iter().map(|rate| (rate, format!("{rate:.0}/s"))).collect(),
    )
}

/// Most steps of a time axis whose numbers are readable on a phone.
const MAX_STEPS: f64 = 8.0;

/// Numbers of a time axis.
pub(crate) fn seconds(from: f64, to: f64) -> Vec<(f64, String)> {
    let step = [0.5, 1.0, 2.0, 5.0].into_iter().find(|step| to - from <= step * MAX_STEPS);
    let step = step.unwrap_or_else(|| ((to - from) / MAX_STEPS).ceil());
    let first = (from / step).ceil() as i32;
    let last = (to / step).floor() as i32;
    (first..=last)
        .map(|count| f64::from(count) * step)
        .map(|second| (second, format!("{second}")))
        .collect()
}
