//! The two tables at the top: the ranking, and the heat table behind it.

use super::palette::{STEPS, WORST, class, shade};
use super::standing::{Cell, Rank, Standing};
use crate::text::escaped;

/// A 99th percentile that many times the uncontended one stands out.
const LATE: f64 = 2.0;

/// A row for every controller, the best first.
pub(super) fn ranking(standing: &Standing<'_>) -> String {
    let row = |(at, rank): (usize, &Rank<'_>)| {
        let worst = standing.scenarios.iter().position(|scenario| *scenario == rank.worst);
        format!(
            "<tr class=\"{}\"><td>{}</td><th scope=\"row\">{}</th><td class=\"h{}\">{}</td><td class=\"left\"><a href=\"#s{}\">{}</a></td><td>{}</td><td>{}</td></tr>\n",
            class(at, rank.controller),
            at + 1,
            escaped(rank.controller),
            shade(rank.score),
            share(rank.score),
            worst.unwrap_or(0),
            escaped(rank.worst),
            share(rank.mean),
            times(rank.p99),
        )
    };
    standing.ranking.iter().enumerate().map(row).collect()
}

/// What the shades mean.
pub(super) fn scale() -> String {
    let item = |at: usize| {
        let text = match at {
            WORST => format!("below {}", STEPS[WORST - 1]),
            at => format!("≥ {}", STEPS[at]),
        };
        format!("<li class=\"h{at}\">{text}</li>")
    };
    (0..=WORST).map(item).collect()
}

/// The names across the top of the heat table.
pub(super) fn heads(standing: &Standing<'_>) -> String {
    let head = |(at, rank): (usize, &Rank<'_>)| {
        format!(
            "<th scope=\"col\" class=\"{}\" data-k=\"k{at}\"><span>{}</span></th>",
            class(at, rank.controller),
            escaped(rank.controller)
        )
    };
    standing.ranking.iter().enumerate().map(head).collect()
}

/// A row for every scenario.
pub(super) fn rows(standing: &Standing<'_>) -> String {
    let row = |(at, scenario): (usize, &&str)| {
        let cells: String = standing
            .ranking
            .iter()
            .map(|rank| standing.cell(scenario, rank.controller).map_or_else(nothing, cell))
            .collect();
        format!(
            "<tr><th scope=\"row\"><a href=\"#s{at}\">{}</a><button class=\"sort\" title=\"Order the columns by this row\" aria-label=\"Order the columns by {}\">⇄</button></th>{cells}</tr>\n",
            escaped(scenario),
            escaped(scenario)
        )
    };
    standing.scenarios.iter().enumerate().map(row).collect()
}

fn cell(cell: &Cell<'_>) -> String {
    let refused = match cell.false_reject {
        some if some > 0.0 => format!(", falsely refused {:.2} %", some * 100.0),
        _ => String::new(),
    };
    format!(
        "<td class=\"h{}\" title=\"seed {} is shown below: {}{refused}\">{}<small{}>{}</small></td>",
        shade(cell.goodput),
        cell.shown.seed,
        share(cell.shown.score.goodput_over_ceiling),
        share(cell.goodput),
        if cell.p99 > LATE { " class=\"late\"" } else { "" },
        times(cell.p99)
    )
}

fn nothing() -> String {
    "<td>–</td>".into()
}

/// Three digits, rounded down: .9996 is not all of it.
pub(super) fn share(of: f64) -> String {
    if of.is_finite() { format!("{:.3}", (of * 1e3 + 1e-9).floor() / 1e3) } else { "–".into() }
}

fn times(of: f64) -> String {
    match of {
        of if !of.is_finite() || of <= 0.0 => "–".into(),
        of if of < 10.0 => format!("×{of:.2}"),
        of if of < 1e4 => format!("×{of:.0}"),
        of => format!("×{of:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_told_better_than_it_is() {
        assert_eq!([0.9996, 1.0, 0.29, f64::NAN].map(share), ["0.999", "1.000", "0.290", "–"]);
    }

    #[test]
    fn a_multiple_has_the_digits_that_matter() {
        assert_eq!([1.078, 24.6, 0.0, f64::INFINITY].map(times), ["×1.08", "×25", "–", "–"]);
    }
}
