//! What a search found, as lines of Markdown.

use super::search::{Found, Judged};

/// The columns of [`render`].
pub(super) const HEADER: &str = "\
| family | options | training: mean, worst, ≥ .95 | held out: mean, worst, ≥ .95 | held out: p99 |
|---|---|---|---|---|";

/// A family as it comes, and with the best options that were found.
pub(super) fn render(found: &Found) -> String {
    let default = row(found.family, "as it comes", &found.default);
    let set: Vec<String> = found.knobs.iter().zip(&found.best.values).map(option).collect();
    format!("{default}\n{}", row("", &set.join(", "), &found.best))
}

fn option((name, value): (&&str, &f64)) -> String {
    format!("{name} {value}")
}

fn row(family: &str, options: &str, judged: &Judged) -> String {
    let [train, holdout] = [judged.train, judged.holdout].map(|standing| {
        format!("{:.3}, {:.3}, {:.0} %", standing.mean, standing.worst, 100.0 * standing.passed)
    });
    format!("| {family} | {options} | {train} | {holdout} | ×{:.2} |", judged.holdout.p99)
}
