//! One run of ours, change by change: the new limit, its cause, and the figures that it rests on.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use backpressure_core::LimitChange;
use clap::Args;

use crate::controller::{Site, ours};
use crate::scenario::library;
use crate::score::judge;
use crate::world::plan::Plan;
use crate::world::simulate;

/// Explain each change of our limit in one scenario
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A scenario, by name or as a file
    scenario: String,
    /// Seed of every random number
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let plan = Plan::of(&library::find(&options.scenario)?);
    let explain = |site: &Site| ours::explained(site, tell);
    let journal = simulate(&plan, &explain, options.seed);
    let score = judge(&plan, &journal);
    say(&serde_json::to_string_pretty(&score)?);
    Ok(ExitCode::SUCCESS)
}

/// Prints a change of the limit of one replica.
fn tell(replica: u32, change: LimitChange) {
    let seconds = change.at.as_nanos() as f64 / 1e9;
    say(&format!("{seconds:9.3} s  replica {replica}  {change}"));
}

/// The reader may close the pipe early.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
