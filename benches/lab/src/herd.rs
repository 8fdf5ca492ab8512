//! The herd: ten thousand requests rejected at once, and when each kind of client is served.

mod outcome;
mod scenario;
mod servers;
mod trial;

use crate::parallel;
use crate::report::Report;
use clap::Args;
use outcome::HerdOutcome;
pub(crate) use scenario::{HERD, IDEAL};
use std::error::Error;
use std::process::ExitCode;
pub(crate) use trial::{served_after_a_second, served_by_schedule};

/// Reject ten thousand requests at once, and see when their clients are served
///
/// A simulated service with half its capacity spare rejects a crowd. What it tells the clients, and whether
/// they obey, decides how long it takes until all are served.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    report: Report,
}

pub(crate) fn run(Options { report }: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let outcomes =
        parallel::each("herd", &trial::pairings(), |pairing| trial::trial(pairing, report.seed));
    let outcomes: Vec<HerdOutcome> = outcomes.into_iter().collect::<Result<_, String>>()?;
    report.show(&outcome::render(&outcomes), &outcomes)
}
