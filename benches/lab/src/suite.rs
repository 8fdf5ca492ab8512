//! The suite: every controller in every scenario, with several seeds, in one table.

mod comparison;
mod expectations;
mod golden;
mod no_harm;
mod options;
mod runner;
mod scoreboard;
mod table;

use std::error::Error;
use std::fs;
use std::process::ExitCode;

pub(crate) use options::Options;

use crate::run::Run;
use runner::Runner;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs the suite and prints its tables.
pub(crate) fn run(options: &Options) -> Outcome<ExitCode> {
    if options.list {
        print!("{}", options::list()?);
        return Ok(ExitCode::SUCCESS);
    }
    let document = options.comparison.as_deref().map(comparison::Document::open).transpose()?;
    let bench = Runner::set_up(options)?;
    let (runs, spent) = bench.run();
    print!("{}", table::render(&bench.scenarios, &runs));
    let surprises = expectations::surprises(&bench.scenarios, &runs);
    for surprise in &surprises {
        println!("unexpected: {surprise}");
    }
    let rate = spent.requests as f64 / spent.time.as_secs_f64().max(1e-9);
    eprintln!("{} runs, {} requests, {rate:.0} a second of one core", runs.len(), spent.requests);
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&runs)? + "\n")?;
    }
    if let Some(document) = document {
        document.write(&scoreboard::Scoreboard::of(&runs))?;
    }
    if options.smoke {
        return Ok(smoke(&surprises, &runs));
    }
    if options.no_harm {
        let harms = no_harm::harms(&scoreboard::Scoreboard::of(&runs));
        harms.iter().for_each(|harm| println!("{harm}"));
        println!("less useful work than without: in {} scenarios", harms.len());
        return Ok(if harms.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether all figures are the golden ones and within their expected ranges.
fn smoke(surprises: &[String], runs: &[Run]) -> ExitCode {
    let differences = golden::differences(runs);
    for difference in &differences {
        println!("{difference}");
    }
    let same = surprises.is_empty() && differences.is_empty();
    if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
