//! The tables: every controller over all scenarios, and the best controllers in every scenario.

use crate::suite::scoreboard::{Figures, Scoreboard, at_share};

/// Ours, and the baseline that it is compared with.
const OURS: &str = "ours";
const BASELINE: &str = "static-2c";

/// Controllers that are told the knee or the mean latency of the site, which a real server cannot know.
const TOLD: [&str; 5] = ["static-c", "static-2c", "tower", "tower-shed", "codel"];

/// Share of the ceiling from which on a scenario counts as passed.
const PASSED: f64 = 0.95;
/// Difference in goodput below which two controllers count as equal.
const SAME: f64 = 0.01;
/// Difference in latency that the table does not show.
const DIGIT: f64 = 0.005;

/// How much was run.
pub(super) fn extent(scoreboard: &Scoreboard<'_>) -> String {
    format!(
        "{} controllers, {} scenarios, {} each.",
        scoreboard.controllers.len(),
        scoreboard.scenarios.len(),
        if scoreboard.seeds == 1 { "1 seed".into() } else { format!("{} seeds", scoreboard.seeds) },
    )
}

#[derive(Debug)]
struct Line<'a> {
    controller: &'a str,
    score: f64,
    worst: &'a str,
    median: f64,
    passed: usize,
    median_p99: f64,
    late: (&'a str, f64),
}

/// A row for each controller, the best first.
pub(super) fn controllers(scoreboard: &Scoreboard<'_>) -> String {
    let known = scoreboard.controllers.iter();
    let mut lines: Vec<Line<'_>> = known.filter_map(|name| line(scoreboard, name)).collect();
    lines.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then(b.median.total_cmp(&a.median))
            .then(b.passed.cmp(&a.passed))
    });
    let rows = lines.iter().enumerate().map(|(at, line)| row(at + 1, line));
    head(
        "| | controller | score | its worst scenario | median | ≥ .95 in | p99, median | p99, worst | in |",
        "|--:|---|--:|---|--:|--:|--:|--:|---|",
    ) + &rows.collect::<String>()
}

fn line<'a>(scoreboard: &Scoreboard<'a>, controller: &'a str) -> Option<Line<'a>> {
    let cells = scoreboard.line(controller);
    let (worst, score) = scoreboard.worst(controller)?;
    let late = cells.iter().max_by(|a, b| a.1.p99.total_cmp(&b.1.p99))?;
    let over = |of: fn(&Figures) -> f64| cells.iter().map(|(_, figures)| of(figures)).collect();
    Some(Line {
        controller,
        score,
        worst,
        median: at_share(over(|figures| figures.goodput), 0.5),
        passed: cells.iter().filter(|(_, figures)| figures.goodput >= PASSED).count(),
        median_p99: at_share(over(|figures| figures.p99), 0.5),
        late: (late.0, late.1.p99),
    })
}

fn row(place: usize, line: &Line<'_>) -> String {
    format!(
        "| {place} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        name(line.controller),
        share(line.score),
        line.worst,
        share(line.median),
        line.passed,
        times(line.median_p99),
        times(line.late.1),
        line.late.0
    )
}

/// In how many scenarios ours loses, and in what.
pub(super) fn losses(scoreboard: &Scoreboard<'_>) -> String {
    let rows: Vec<Row<'_>> = rows(scoreboard).collect();
    let count = |of: fn(&Row<'_>) -> bool| rows.iter().filter(|row| of(row)).count();
    format!(
        "In {} of {} scenarios: in {} less goodput than {BASELINE}, in {} less than the best other, in {} a longer p99 than {BASELINE}.",
        count(|row| !row.losses().is_empty()),
        rows.len(),
        count(|row| row.less_than_baseline()),
        count(|row| row.less_than_best()),
        count(|row| row.later()),
    )
}

/// A row for each scenario.
pub(super) fn scenarios(scoreboard: &Scoreboard<'_>) -> String {
    head(
        "| scenario | ours | static-2c | the best other | it has | ours refuses falsely, % | ours loses in |",
        "|---|---|---|---|---|--:|---|",
    ) + &rows(scoreboard).map(|row| row.text()).collect::<String>()
}

/// Ours, the baseline and the best other in one scenario.
#[derive(Debug)]
struct Row<'a> {
    scenario: &'a str,
    ours: Figures,
    baseline: Option<Figures>,
    best: Option<(&'a str, Figures)>,
}

fn rows<'a>(scoreboard: &Scoreboard<'a>) -> impl Iterator<Item = Row<'a>> {
    scoreboard.scenarios.iter().filter_map(|&scenario| {
        Some(Row {
            scenario,
            ours: scoreboard.figures(scenario, OURS)?,
            baseline: scoreboard.figures(scenario, BASELINE),
            best: best_other(scoreboard, scenario),
        })
    })
}

impl Row<'_> {
    fn less(&self, than: Figures) -> bool {
        self.ours.goodput < than.goodput - SAME
    }

    fn less_than_baseline(&self) -> bool {
        self.baseline.is_some_and(|baseline| self.less(baseline))
    }

    fn less_than_best(&self) -> bool {
        self.best.is_some_and(|(_, best)| self.less(best))
    }

    fn later(&self) -> bool {
        self.baseline.is_some_and(|baseline| self.ours.p99 > baseline.p99 + DIGIT)
    }

    fn losses(&self) -> String {
        let named = [
            (self.less_than_baseline(), "goodput to static-2c"),
            (self.less_than_best(), "goodput to the best"),
            (self.later(), "p99"),
        ];
        let named: Vec<&str> =
            named.into_iter().filter_map(|(is, says)| is.then_some(says)).collect();
        named.join(", ")
    }

    fn text(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {} | {:.2} | {} |\n",
            self.scenario,
            both(Some(self.ours)),
            both(self.baseline),
            self.best.map_or_else(|| "–".into(), |(best, _)| name(best)),
            both(self.best.map(|(_, figures)| figures)),
            100.0 * self.ours.false_reject,
            self.losses(),
        )
    }
}

/// The controller with the most goodput besides ours and the baseline; among equals, to three digits, the one
/// with the lowest p99.
fn best_other<'a>(scoreboard: &Scoreboard<'a>, scenario: &str) -> Option<(&'a str, Figures)> {
    let others = scoreboard.controllers.iter().filter(|name| **name != OURS && **name != BASELINE);
    let cells = others.filter_map(|name| Some((*name, scoreboard.figures(scenario, name)?)));
    cells.max_by(|a, b| {
        let digits = |figures: &Figures| (figures.goodput * 1e3).round();
        digits(&a.1).total_cmp(&digits(&b.1)).then(b.1.p99.total_cmp(&a.1.p99))
    })
}

fn head(names: &str, rule: &str) -> String {
    format!("{names}\n{rule}\n")
}

/// Marked with † if it is told what a real server cannot know.
fn name(controller: &str) -> String {
    match controller {
        OURS => format!("**{OURS}**"),
        told if TOLD.contains(&told) => format!("{told} †"),
        other => other.to_owned(),
    }
}

/// Goodput over the ceiling, and p99 over that of a request alone.
fn both(figures: Option<Figures>) -> String {
    figures.map_or_else(
        || "–".into(),
        |figures| format!("{}, {}", share(figures.goodput), times(figures.p99)),
    )
}

/// Three digits, rounded down: .9996 is not all of it.
fn share(of: f64) -> String {
    let text = format!("{:.3}", (of * 1e3 + 1e-9).floor() / 1e3);
    text.strip_prefix('0').unwrap_or(&text).to_owned()
}

fn times(of: f64) -> String {
    if of < 100.0 { format!("×{of:.2}") } else { format!("×{of:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::catalogue::find;
    use crate::run::{Run, Score};

    #[test]
    fn every_controller_marked_as_told_exists() {
        assert_eq!(TOLD.iter().find(|name| find(name).is_none()), None);
    }

    #[test]
    fn a_share_is_rounded_down() {
        assert_eq!([0.9996, 1.0, 0.0, 1.0034].map(share), [".999", "1.000", ".000", "1.003"]);
    }

    fn run(scenario: &str, controller: &str, goodput: f64, p99: f64) -> Run {
        let score =
            Score { goodput_over_ceiling: goodput, p99_over_uncontended: p99, ..Score::default() };
        let (scenario, controller) = (scenario.into(), controller.into());
        Run { scenario, controller, seed: 1, score }
    }

    #[test]
    fn every_loss_is_named_and_nothing_else() {
        let runs = [
            run("even", OURS, 0.991, 1.5),
            run("even", BASELINE, 1.0, 1.5),
            run("late", OURS, 1.0, 1.51),
            run("late", BASELINE, 1.0, 1.5),
            run("poor", OURS, 0.9, 1.0),
            run("poor", BASELINE, 0.8, 1.5),
            run("poor", "envoy", 0.92, 9.0),
        ];
        let scoreboard = Scoreboard::of(&runs);
        let text = losses(&scoreboard);
        assert!(text.starts_with("In 2 of 3 scenarios: in 0 less goodput than static-2c, in 1 less than the best other, in 1 a longer"), "{text}");
        let text = scenarios(&scoreboard);
        let poor = "| poor | .900, ×1.00 | .800, ×1.50 | envoy | .920, ×9.00 | 0.00 | goodput to the best |";
        assert!(text.contains(poor) && text.contains("×1.50 | – | – | 0.00 |  |"), "{text}");
    }
}
