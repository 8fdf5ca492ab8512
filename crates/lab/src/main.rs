//! The lab: where what the layers promise is put to the proof.

mod chart;
mod controller;
mod course;
mod explain;
mod herd;
mod law;
mod map;
mod parallel;
mod paused;
mod report;
mod run;
mod scenario;
mod score;
mod storm;
mod suite;
mod text;
mod tune;
mod world;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The lab of tower-backpressure. Without a command it runs the storm.
#[derive(Debug, Parser)]
#[command(name = "lab", version, args_conflicts_with_subcommands = true, after_long_help = storm::EXPLAINED)]
struct Lab {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    storm: storm::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    Storm(storm::Options),
    Suite(suite::Options),
    Map(map::Options),
    Herd(herd::Options),
    Explain(explain::Options),
    Tune(tune::Options),
}

fn main() -> ExitCode {
    let lab = Lab::parse();
    let outcome = match lab.command {
        Some(Command::Storm(options)) => storm::run(&options),
        Some(Command::Suite(options)) => suite::run(&options),
        Some(Command::Map(options)) => map::run(&options),
        Some(Command::Herd(options)) => herd::run(&options),
        Some(Command::Explain(options)) => explain::run(&options),
        Some(Command::Tune(options)) => tune::run(&options),
        None => storm::run(&lab.storm),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
