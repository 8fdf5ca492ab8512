//! The result of a cell, and sums over cells.

use crate::map::grid::{Layers, Place};
use serde::Serialize;

/// The result of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Cell {
    #[serde(flatten)]
    pub(crate) place: Place,
    /// Useful answers over first attempts, from 20 seconds after the trigger on.
    pub(crate) goodput: f64,
    /// Whether the service is still down then, although the trigger is long over.
    pub(crate) metastable: bool,
    /// Seconds from the end of the trigger until the service has recovered; `None`: not within the run.
    pub(crate) recovery_s: Option<f64>,
    /// Attempts per request over the whole run.
    pub(crate) attempts: f64,
}

/// Sums over all cells with the same layers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Tally {
    pub(crate) layers: Layers,
    pub(crate) cells: usize,
    pub(crate) metastable: usize,
    /// Of the cells that recovered.
    pub(crate) median_recovery_s: f64,
    pub(crate) longest_recovery_s: f64,
    /// Cells that took longer than a second, or did not recover.
    pub(crate) slow: usize,
    /// Most attempts per request of any cell.
    pub(crate) most_attempts: f64,
}

/// One tally for each set of layers.
pub(crate) fn tallies(cells: &[Cell]) -> Vec<Tally> {
    Layers::ALL.into_iter().map(|layers| tally(layers, cells)).collect()
}

fn tally(layers: Layers, cells: &[Cell]) -> Tally {
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.place.layers == layers).collect();
    let mut recoveries: Vec<f64> = cells.iter().filter_map(|cell| cell.recovery_s).collect();
    recoveries.sort_by(f64::total_cmp);
    Tally {
        layers,
        cells: cells.len(),
        metastable: cells.iter().filter(|cell| cell.metastable).count(),
        median_recovery_s: recoveries.get(recoveries.len() / 2).copied().unwrap_or_default(),
        longest_recovery_s: recoveries.last().copied().unwrap_or_default(),
        slow: cells
            .iter()
            .filter(|cell| cell.recovery_s.is_none_or(|seconds| seconds > 1.0))
            .count(),
        most_attempts: cells.iter().map(|cell| cell.attempts).fold(0.0, f64::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::grid::{Policy, Strength};

    #[test]
    fn a_tally_counts_the_cells_that_stay_down_and_those_that_recover_slowly() {
        let place = Place {
            layers: Layers::Neither,
            policy: Policy::Naive3,
            load: 0.7,
            trigger: Strength::Capacity(0.0),
            trigger_s: 1.0,
        };
        let cell = |recovery_s: Option<f64>| Cell {
            place,
            goodput: 0.0,
            metastable: recovery_s.is_none(),
            recovery_s,
            attempts: 4.0,
        };
        let all = tallies(&[cell(None), cell(Some(0.2)), cell(Some(7.0))]);
        let tally = all[0];
        assert_eq!((tally.cells, tally.metastable, tally.slow), (3, 1, 2));
        assert_eq!((tally.median_recovery_s, tally.longest_recovery_s), (7.0, 7.0));
        assert_eq!(all[1].cells, 0);
    }
}
