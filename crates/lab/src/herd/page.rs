//! The herd as a page: a table, and how fast each herd got in.

use crate::chart::scale::{Axis, decades, round_steps};
use crate::chart::{Chart, Line, Point};
use crate::herd::fate::Fate;
use crate::report;
use crate::text::{escaped, percent, seconds};

const BODY: &str = include_str!("page.html");

/// Lines have so many colours; the first is for ours.
const COLOURS: [&str; 8] = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];

/// The page, in one piece that needs no other.
pub(crate) fn page(fates: &[Fate], ideal: f64) -> String {
    let rows: String = fates.iter().enumerate().map(|(at, fate)| row(at, fate)).collect();
    (report::HEAD.to_owned() + BODY)
        .replace("{{headline}}", &escaped(&headline(fates, ideal)))
        .replace("{{ideal}}", &seconds(ideal))
        .replace("{{rows}}", &rows)
        .replace("{{chart}}", &chart(fates, ideal).svg())
}

fn headline(fates: &[Fate], ideal: f64) -> String {
    let Some(ours) = fates.iter().find(|fate| fate.ours) else {
        return "The herd".into();
    };
    let lost = if ours.lost > 0.0 {
        format!(", but for {} who gave up", percent(ours.lost))
    } else {
        String::new()
    };
    format!(
        "Ten thousand refused at once are in after {}{lost}; spare capacity would allow {}",
        seconds(ours.drain_s),
        seconds(ideal),
    )
}

fn class(at: usize, fate: &Fate) -> &'static str {
    if fate.ours { "ours" } else { COLOURS[at % COLOURS.len()] }
}

fn row(at: usize, fate: &Fate) -> String {
    let [drain, attempts, first] = fate.meets().map(|met| if met { "met" } else { "missed" });
    format!(
        "<tr class=\"{}\"><th scope=\"row\"><i></i>{}</th><td class=\"left\">{}</td><td>{}</td><td class=\"{drain}\">{:.2}</td><td class=\"{attempts}\">{:.2}</td><td class=\"{first}\">{}</td><td>{}</td><td>{}</td></tr>\n",
        class(at, fate),
        escaped(fate.server),
        escaped(fate.client),
        seconds(fate.drain_s),
        fate.drain_over_ideal,
        fate.attempts,
        percent(fate.first_retry),
        percent(fate.lost),
        percent(fate.others_refused),
    )
}

/// Who is still out, in time; the herds of ours last, over the others.
fn chart(fates: &[Fate], ideal: f64) -> Chart {
    let mut order: Vec<(usize, &Fate)> = fates.iter().enumerate().collect();
    order.sort_by_key(|(_, fate)| fate.ours);
    let possible = (1..=100).map(|step| f64::from(step) / 100.0);
    let possible: Vec<_> = possible.map(|share| (share * ideal, 1.0 - share)).collect();
    let mut lines = vec![line("ceiling", &possible)];
    lines.extend(order.into_iter().map(|(at, fate)| line(class(at, fate), &fate.course)));
    let end = fates.iter().map(|fate| fate.drain_s).fold(ideal, f64::max) * 1.1;
    Chart {
        title: "Share of the herd that is still out, over time".into(),
        width: 1_000.0,
        height: 360.0,
        left: 62.0,
        right: 20.0,
        x: Axis::log(0.5, end, decades(0.5, end).into_iter().map(|at| (at, seconds(at))).collect()),
        x_label: "since the burst".into(),
        y: Axis::linear(
            0.0,
            1.0,
            round_steps(1.0).into_iter().map(|at| (at, percent(at))).collect(),
        ),
        bands: vec![],
        areas: vec![],
        lines,
    }
}

fn line(class: &'static str, course: &[(f64, f64)]) -> Line {
    let points = course.iter().map(|&(at, share)| Point::plain(at, share)).collect();
    Line { class: class.into(), label: String::new(), points, marked: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_row_and_a_line_for_every_herd() {
        let fate = |ours: bool, drain_s: f64| Fate {
            server: "Retry-After: 1",
            client: "to the letter",
            drain_s,
            drain_over_ideal: drain_s / 12.5,
            attempts: 2.0,
            first_retry: 0.99,
            lost: 0.0,
            others_refused: 0.1,
            ours,
            course: vec![(0.5, 1.0), (drain_s, 0.0)],
        };
        let page = page(&[fate(false, 273.0), fate(true, 13.1)], 12.5);
        assert_eq!(
            (page.matches("<th scope=\"row\"").count(), page.matches("<polyline").count()),
            (2, 3)
        );
        assert!(!page.contains("{{") && !page.contains("http://") && !page.contains("https://"));
    }
}
