//! Everything that one storm measured.

use crate::calibrate::Calibration;
use crate::stack::Stack;
use crate::timing::Timing;
use crate::trial::Trial;

/// Everything that one storm measured, and the options it ran with.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    /// Whether the server and the load generator had a CPU each.
    pub(crate) separate_cpus: bool,
    pub(crate) timing: Timing,
    pub(crate) calibrations: Vec<Calibration>,
    pub(crate) trials: Vec<Trial>,
    pub(crate) interrupted: bool,
}

impl Findings {
    /// The stacks with at least one finished run, in their order.
    pub(crate) fn stacks(&self) -> Vec<Stack> {
        let mut stacks: Vec<Stack> = self.trials.iter().map(|trial| trial.entry.stack).collect();
        stacks.sort_unstable();
        stacks.dedup();
        stacks
    }
}
