//! The lab: simulates overloaded services, and compares admission controllers in front of them.

mod chart;
mod controller;
mod distribution;
mod explain;
mod forecast;
mod herd;
mod map;
mod parallel;
mod piecewise;
mod report;
mod run;
mod scenario;
mod score;
mod suite;
mod text;
mod world;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Simulates overloaded services and compares the controllers that protect them
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Lab {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Suite(suite::Options),
    Map(map::Options),
    Herd(herd::Options),
    Explain(explain::Options),
    Forecast(forecast::Options),
    Chart(chart::Options),
}

fn main() -> ExitCode {
    let outcome = match Lab::parse().command {
        Command::Suite(options) => suite::run(&options),
        Command::Map(options) => map::run(&options),
        Command::Herd(options) => herd::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Forecast(options) => forecast::run(&options),
        Command::Chart(options) => chart::run(&options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
