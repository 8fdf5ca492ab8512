//! The herd: ten thousand refused at once, and how they get in.

mod outcome;
mod scenario;
mod servers;
mod table;
mod trial;

use crate::parallel;
use crate::report::Report;
use clap::Args;
use outcome::HerdOutcome;
use std::error::Error;
use std::process::ExitCode;

/// Let ten thousand be refused at once, and see how they come back
///
/// A simulated service with half its capacity spare turns away a crowd. What it tells them, and whether they listen,
/// decides how long it takes until all are served.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    report: Report,
}

pub(crate) fn run(Options { report }: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let outcomes =
        parallel::each("herd", &trial::pairings(), |pairing| trial::trial(pairing, report.seed));
    let outcomes: Vec<HerdOutcome> = outcomes.into_iter().collect::<Result<_, String>>()?;
    report.show(&table::render(&outcomes), &outcomes)
}
