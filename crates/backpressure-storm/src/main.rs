//! The storm: a real service, overloaded without and with the layers.
//!
//! It uses sockets, a runtime and CPU time, and no model. What only a model can show (thousands of cells, exact
//! seeds) is the lab's part.

mod answer;
mod arrivals;
mod bench;
mod calibrate;
mod chart;
mod client;
mod cpu;
mod demo;
mod event_log;
mod findings;
mod generator;
mod handler;
mod interrupt;
mod machine;
mod plan;
mod policy;
mod pool;
mod precise_timer;
mod progress;
mod report;
mod scenario;
mod score;
mod serve;
mod server;
mod soak;
mod stack;
mod table;
mod text;
mod timing;
mod trial;
mod url_storm;
mod verdict;

use crate::bench::Bench;
use crate::calibrate::calibrate;
use crate::findings::Findings;
use crate::handler::Handler;
use crate::plan::{Command, Entry, Options};
use crate::progress::Progress;
use crate::stack::Stack;
use crate::timing::Timing;
use clap::Parser;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The exit code that a shell reports for a program ended by ^C.
const INTERRUPTED: u8 = 130;

/// The end of a storm that was interrupted before it had anything to report.
fn interrupted_early() -> ExitCode {
    eprintln!("interrupted before anything was measured");
    ExitCode::from(INTERRUPTED)
}

fn main() -> ExitCode {
    run(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// Runs what was asked for: the main job without a command.
fn run(options: &Options) -> Outcome<ExitCode> {
    match &options.command {
        Some(Command::Soak(options)) => {
            let passed = soak::run(options)?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(Command::Storm(options)) => url_storm::run(options),
        Some(Command::Serve(options)) => serve::run(options).map(|()| ExitCode::SUCCESS),
        Some(Command::Demo(options)) => demo::run(options).map(|()| ExitCode::SUCCESS),
        Some(Command::Policy { command }) => policy::run(command),
        None => main_job(options),
    }
}

/// Runs the storm of the demo, prints its table and writes its report.
fn main_job(options: &Options) -> Outcome<ExitCode> {
    let entries = plan::entries(options)?;
    report::prepare(&options.out)?;
    let bench = Bench::set_up(Timing::of(options.quick));
    let mut findings = Findings {
        quick: options.quick,
        seed: options.seed,
        separate_cpus: bench.allowed.apart(),
        timing: bench.timing,
        calibrations: Vec::new(),
        trials: Vec::new(),
        interrupted: false,
    };
    runtime()?.block_on(until_interrupted(&bench, &entries, &mut findings))?;
    if findings.trials.is_empty() {
        return Ok(interrupted_early());
    }
    for line in verdict::lines(&findings) {
        println!("{line}");
    }
    print!("{}", table::render(&findings));
    let page = report::write(&options.out, &findings)?;
    println!("\n{}", page.display());
    Ok(if findings.interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// The runtime of the load generator, on this thread. It polls its sockets often, so that answers are not read
/// late.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().event_interval(8).build()
}

async fn until_interrupted(
    bench: &Bench,
    entries: &[Entry],
    findings: &mut Findings,
) -> Outcome<()> {
    let finished = tokio::select! {
        finished = storm(bench, entries, findings) => Some(finished),
        () = interrupt::interrupted() => None,
    };
    findings.interrupted = finished.is_none();
    finished.unwrap_or(Ok(()))
}

async fn storm(bench: &Bench, entries: &[Entry], findings: &mut Findings) -> Outcome<()> {
    let handlers = handlers(entries);
    let searches = entries.iter().any(|entry| entry.stack == Stack::Tower);
    let calibrating = calibrate::expected(bench, searches);
    let storming: Duration = entries.iter().map(|entry| bench.timing.end(entry.scenario)).sum();
    let mut progress = Progress::start(calibrating * handlers.len() as u32 + storming);
    for handler in handlers {
        progress.stage(&format!("{}: calibration", handler.name()), calibrating);
        let calibration = calibrate(bench, handler, searches, findings.seed).await?;
        progress.say(&table::calibration(&calibration));
        findings.calibrations.push(calibration);
    }
    let mut repeats_left = bench.timing.repeats;
    for &entry in entries {
        let name =
            format!("{} {} {}", entry.handler.name(), entry.scenario.name(), entry.stack.name());
        progress.stage(&name, bench.timing.end(entry.scenario));
        let calibration = findings.calibrations.iter().find(|known| known.handler == entry.handler);
        let calibration = calibration.expect("every handler was calibrated");
        let trial = trial::run(bench, entry, calibration, findings.seed, &mut repeats_left).await?;
        progress.say(&table::line(&trial));
        findings.trials.push(trial);
    }
    Ok(())
}

fn handlers(entries: &[Entry]) -> Vec<Handler> {
    let mut handlers: Vec<Handler> = entries.iter().map(|entry| entry.handler).collect();
    handlers.dedup();
    handlers
}
