//! The map as a table.

use crate::map::grid::Policy;
use crate::map::result::{Cell, Tally, tallies};
use crate::text::seconds;
use std::fmt::Write;

/// A line for each set of layers, and below it one for each kind of client.
pub(crate) fn render(cells: &[Cell]) -> String {
    let mut text = format!(
        "{:<40} {:>6} {:>10} {:>6} {:>9} {:>9} {:>8}\n",
        "layers", "cells", "metastable", "> 1 s", "median", "longest", "attempts"
    );
    for tally in tallies(cells) {
        line(&mut text, tally.layers.label(), &tally);
        for policy in Policy::ALL {
            let of: Vec<Cell> = cells
                .iter()
                .filter(|cell| (cell.place.layers, cell.place.policy) == (tally.layers, policy))
                .copied()
                .collect();
            let tally = tallies(&of).into_iter().find(|of| of.layers == tally.layers);
            if let Some(tally) = tally.filter(|tally| tally.cells > 0) {
                line(&mut text, &format!("  {}", policy.label()), &tally);
            }
        }
    }
    text
}

fn line(text: &mut String, name: &str, tally: &Tally) {
    writeln!(
        text,
        "{:<40} {:>6} {:>10} {:>6} {:>9} {:>9} {:>8.1}",
        name,
        tally.cells,
        tally.metastable,
        tally.slow,
        seconds(tally.median_recovery_s),
        seconds(tally.longest_recovery_s),
        tally.most_attempts
    )
    .expect("writing to a string does not fail");
}
