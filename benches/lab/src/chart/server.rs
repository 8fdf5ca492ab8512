//! Charts of servers: limits, retries and shares in scenarios of the library.

use crate::controller::catalogue;
use crate::herd;
use crate::scenario::library;
use crate::world::journal::Journal;
use crate::world::plan::Plan;
use crate::world::simulate;

use super::figure::{Band, Class, Figure, Line};
use super::scale::Scale;

const SEED: u64 = 1;
/// Seconds that one point of a rate stands for.
pub(super) const BIN: f64 = 0.5;

/// Seconds at the end of a run in which attempts may be under way: more than their clients wait.
const LAST_SECONDS: f64 = 2.0;

/// One scenario under one controller.
#[derive(Debug)]
struct Run {
    plan: Plan,
    journal: Journal,
}

impl Run {
    fn of(scenario: &str, controller: &str) -> Result<Self, String> {
        let plan = Plan::of(&library::find(scenario)?);
        let entry = catalogue::find(controller)
            .ok_or_else(|| format!("there is no controller {controller}"))?;
        let journal = simulate(&plan, &entry.make, SEED);
        Ok(Self { plan, journal })
    }

    /// What the scenarios of this page change, at 25 s and to the end.
    fn changed(&self, name: &'static str) -> Band {
        Band { from: 25.0, to: self.plan.seconds, name }
    }

    fn limit(&self, name: &'static str, class: Class) -> Line {
        let points = self.journal.levels.iter().map(|level| (level.at, level.limit)).collect();
        Line { name, class, points }
    }

    /// Requests in flight at capacity when none waits.
    fn knee(&self) -> Line {
        let points =
            self.journal.levels.iter().map(|level| (level.at, self.plan.knee.at(level.at)));
        Line { name: "knee (not known)", class: Class::Reference, points: points.collect() }
    }

    /// Something a second over the requests a second that the service can do.
    fn rate(&self, moments: impl Iterator<Item = u64>) -> Vec<(f64, f64)> {
        let capacity = self.plan.requests.at(0.0) * BIN;
        let counts = binned(moments.map(|nanos| nanos as f64 * 1e-9), self.plan.seconds);
        counts.into_iter().map(|(at, count)| (at, count / capacity)).collect()
    }

    /// Attempts by when they were sent.
    fn sent(&self, name: &'static str, class: Class) -> Line {
        let ended = self.journal.ended.iter();
        let mut points = self.rate(ended.map(|ended| ended.at - ended.latency));
        // Attempts that are under way at the end are in no journal.
        points.truncate(points.len().saturating_sub((LAST_SECONDS / BIN) as usize));
        Line { name, class, points }
    }
}

/// How many of these moments are in each bin.
pub(super) fn binned(moments: impl Iterator<Item = f64>, seconds: f64) -> Vec<(f64, f64)> {
    let mut counts = vec![0_u32; (seconds / BIN) as usize];
    for moment in moments {
        if let Some(count) = counts.get_mut((moment / BIN) as usize) {
            *count += 1;
        }
    }
    let middle = |bin: usize| (bin as f64 + 0.5) * BIN;
    counts.iter().enumerate().map(|(bin, &count)| (middle(bin), f64::from(count))).collect()
}

pub(super) fn visible_queue() -> Result<Figure, String> {
    let run = Run::of("slower-work-visible", "ours")?;
    Ok(Figure {
        says: "The computing of each request takes ten times as long from 25 s on, under twice the load. The limit follows the knee within three seconds, since the queue for the cores is measured.".into(),
        y_name: "requests at once",
        seconds: run.plan.seconds,
        y: Scale::Linear(0.0, 50.0),
        bands: vec![run.changed("10 × the computing")],
        lines: vec![run.limit("limit", Class::First), run.knee()],
    })
}

pub(super) fn hidden_queue() -> Result<Figure, String> {
    let run = Run::of("fewer-slots-opaque", "ours")?;
    Ok(Figure {
        says: "Nine tenths of a hidden pool are lost at 25 s. The limit follows the knee from 40 down to 4 by experiments.".into(),
        y_name: "requests at once (logarithmic)",
        seconds: run.plan.seconds,
        y: Scale::Log(1.0, 500.0),
        bands: vec![run.changed("a tenth of the slots")],
        lines: vec![run.limit("limit", Class::First), run.knee()],
    })
}

pub(super) fn slower_elsewhere() -> Result<Figure, String> {
    let scenario = "slower-elsewhere-opaque";
    let run = Run::of(scenario, "ours")?;
    Ok(Figure {
        says: "A dependency becomes ten times slower at 25 s without a queue. The adaptive limit rises with the knee; Gradient2 does not.".into(),
        y_name: "requests at once (logarithmic)",
        seconds: run.plan.seconds,
        y: Scale::Log(10.0, 1_000.0),
        bands: vec![run.changed("10 × slower, no queue")],
        lines: vec![
            run.limit("limit", Class::First),
            Run::of(scenario, "gradient2")?.limit("Gradient2", Class::Second),
            run.knee(),
        ],
    })
}

pub(super) fn aimd() -> Result<Figure, String> {
    let run = Run::of("fewer-slots-opaque", "aimd")?;
    Ok(Figure {
        says: "AIMD stays at its highest limit of 200 behind a hidden pool of 40 slots, and at a pool of 4 its lowest limit is 20.".into(),
        y_name: "requests at once (logarithmic)",
        seconds: run.plan.seconds,
        y: Scale::Log(1.0, 500.0),
        bands: vec![run.changed("a tenth of the slots")],
        lines: vec![run.limit("AIMD", Class::Second), run.knee()],
    })
}

pub(super) fn herd() -> Result<Figure, String> {
    /// Seconds shown: the time that spare capacity needs, five times.
    const SHOWN: f64 = 60.0;
    let line = |name, class, served: Vec<f64>| {
        let mut sum = 0.0;
        let points = binned(served.into_iter(), SHOWN).into_iter().map(|(at, count)| {
            sum += count;
            (at, sum)
        });
        Line { name, class, points: points.collect() }
    };
    let spare = f64::from(herd::HERD) / herd::IDEAL;
    let ideal = [0.0, herd::IDEAL, SHOWN].map(|at| (at, (at * spare).min(f64::from(herd::HERD))));
    Ok(Figure {
        says: "Ten thousand requests rejected at once. With a schedule all are served nearly as fast as spare capacity allows; with the same second for all, one crowd returns each second.".into(),
        y_name: "requests served in all",
        seconds: SHOWN,
        y: Scale::Linear(0.0, f64::from(herd::HERD)),
        bands: vec![],
        lines: vec![
            line("Retry-After by schedule", Class::First, herd::served_by_schedule(SEED)?),
            line("Retry-After: 1", Class::Second, herd::served_after_a_second(SEED)?),
            Line { name: "spare capacity", class: Class::Reference, points: ideal.to_vec() },
        ],
    })
}

pub(super) fn retries() -> Result<Figure, String> {
    let naive = Run::of("retry-storm-cpu", "none")?;
    let budget = Run::of("retry-storm-budget-cpu", "none")?;
    let one = vec![(0.0, 1.0), (naive.plan.seconds, 1.0)];
    Ok(Figure {
        says: "A service at a third of its speed for ten seconds. Clients that retry three times at once keep it overloaded for good; with a budget of a tenth they do not.".into(),
        y_name: "attempts a second, over the capacity",
        seconds: naive.plan.seconds,
        y: Scale::Linear(0.0, 3.5),
        bands: vec![Band { from: 10.0, to: 20.0, name: "slow" }],
        lines: vec![
            naive.sent("three retries", Class::Second),
            budget.sent("with a budget", Class::First),
            Line { name: "capacity", class: Class::Reference, points: one },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_in_bins_of_half_a_second() {
        let counts = binned([0.1, 0.2, 0.6, 9.0].into_iter(), 1.0);
        assert_eq!(counts, [(0.25, 2.0), (0.75, 1.0)]);
    }
}
