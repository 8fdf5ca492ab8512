//! The tables: every controller over all scenarios, and the best controllers in every scenario.

use crate::suite::scoreboard::{Figures, Scoreboard, at_share};

/// Ours, and the baseline that it is compared with.
pub(super) const OURS: &str = "ours";
pub(super) const BASELINE: &str = "static-2c";

/// Controllers that are told the knee or the mean latency of the site, which a real server cannot know.
const TOLD: [&str; 9] = [
    "static-c",
    "static-2c",
    "tower",
    "tower-shed",
    "codel",
    "seda",
    "dagor",
    "breakwater",
    "protego",
];

/// Share of the ceiling from which on a scenario counts as passed.
const PASSED: f64 = 0.95;

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

/// A row for each scenario.
pub(super) fn scenarios(scoreboard: &Scoreboard<'_>) -> String {
    let rows = scoreboard.scenarios.iter().filter_map(|scenario| {
        let ours = scoreboard.figures(scenario, OURS)?;
        let baseline = scoreboard.figures(scenario, BASELINE);
        let (best, others) = match best_other(scoreboard, scenario) {
            Some((best, figures)) => (name(best), Some(figures)),
            None => ("–".into(), None),
        };
        Some(format!(
            "| {scenario} | {} | {} | {best} | {} | {:.2} |\n",
            both(Some(ours)),
            both(baseline),
            both(others),
            100.0 * ours.false_reject
        ))
    });
    head(
        "| scenario | ours | static-2c | the best other | it has | ours refuses falsely, % |",
        "|---|---|---|---|---|--:|",
    ) + &rows.collect::<String>()
}

/// The controller with the most goodput besides ours and the baseline; among equals, to three digits, the one
/// with the lowest p99.
pub(super) fn best_other<'a>(
    scoreboard: &Scoreboard<'a>,
    scenario: &str,
) -> Option<(&'a str, Figures)> {
    let others = scoreboard.controllers.iter().filter(|name| **name != OURS && **name != BASELINE);
    let cells = others.filter_map(|name| Some((*name, scoreboard.figures(scenario, name)?)));
    cells.max_by(|a, b| {
        let digits = |figures: &Figures| (figures.goodput * 1e3).round();
        digits(&a.1).total_cmp(&digits(&b.1)).then(b.1.p99.total_cmp(&a.1.p99))
    })
}

pub(super) fn head(names: &str, rule: &str) -> String {
    format!("{names}\n{rule}\n")
}

/// Marked with † if it is told what a real server cannot know.
pub(super) fn name(controller: &str) -> String {
    match controller {
        OURS => format!("**{OURS}**"),
        told if TOLD.contains(&told) => format!("{told} †"),
        other => other.to_owned(),
    }
}

/// Goodput over the ceiling, and p99 over that of a request alone.
pub(super) fn both(figures: Option<Figures>) -> String {
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

    #[test]
    fn every_controller_marked_as_told_exists() {
        assert_eq!(TOLD.iter().find(|name| find(name).is_none()), None);
    }

    #[test]
    fn a_share_is_rounded_down() {
        assert_eq!([0.9996, 1.0, 0.0, 1.0034].map(share), [".999", "1.000", ".000", "1.003"]);
    }
}
