//! The herds as a table.

use crate::herd::outcome::HerdOutcome;
use std::fmt::Write;

pub(crate) fn render(outcomes: &[HerdOutcome]) -> String {
    let mut text = format!(
        "{:<32} {:<32} {:>8} {:>8} {:>9} {:>12} {:>9} {:>9}\n",
        "the server says",
        "the clients wait",
        "served",
        "/ ideal",
        "attempts",
        "first retry",
        "never",
        "others"
    );
    for outcome in outcomes {
        writeln!(
            text,
            "{:<32} {:<32} {:>6.1} s {:>8.2} {:>9.2} {:>10.1} % {:>7.1} % {:>7.1} %",
            outcome.server,
            outcome.client,
            outcome.drain_s,
            outcome.drain_over_ideal,
            outcome.attempts,
            outcome.first_retry * 100.0,
            outcome.lost * 100.0,
            outcome.others_refused * 100.0
        )
        .expect("writing to a string does not fail");
    }
    text
}
