//! The herd in a few lines.

use crate::herd::fate::Fate;
use std::fmt::Write;

pub(crate) fn render(fates: &[Fate]) -> String {
    let mut text = format!(
        "{:<32} {:<32} {:>8} {:>8} {:>9} {:>12} {:>9} {:>9}\n",
        "the server says",
        "the callers",
        "all in",
        "/ ideal",
        "attempts",
        "first retry",
        "never in",
        "others"
    );
    for fate in fates {
        writeln!(
            text,
            "{:<32} {:<32} {:>6.1} s {:>8.2} {:>9.2} {:>10.1} % {:>7.1} % {:>7.1} %",
            fate.server,
            fate.client,
            fate.drain_s,
            fate.drain_over_ideal,
            fate.attempts,
            fate.first_retry * 100.0,
            fate.lost * 100.0,
            fate.others_refused * 100.0
        )
        .expect("a string takes all");
    }
    text
}
