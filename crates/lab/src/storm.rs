//! The storm: a real service, overloaded in earnest, behind one stack of layers after the other.
//!
//! Not a model: sockets, a runtime, CPU that is really burnt. What only a model can show (thousands of cells, exact
//! seeds) is not shown here.

mod arrivals;
mod bench;
mod calibrate;
mod client;
mod cpu;
mod forecast;
mod generator;
mod handler;
mod measure;
mod pace;
mod pacer;
mod plan;
mod pool;
mod progress;
mod report;
mod score;
mod server;
mod stack;
mod table;
mod trial;

pub(crate) use plan::{EXPLAINED, Options};

use bench::Bench;
use calibrate::{Calibration, calibrate};
use handler::Handler;
use pace::Pace;
use plan::Entry;
use progress::Progress;
use stack::Stack;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::ctrl_c;
use trial::Trial;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the shell gives for a program that ^C ended.
const INTERRUPTED: u8 = 130;

/// Everything that was found.
#[derive(Debug)]
struct Findings {
    quick: bool,
    seed: u64,
    /// Whether the server and the load had a CPU each.
    apart: bool,
    pace: Pace,
    calibrations: Vec<Calibration>,
    trials: Vec<Trial>,
    interrupted: bool,
}

impl Findings {
    /// The stacks there is something to say about, in their order.
    fn stacks(&self) -> Vec<Stack> {
        let mut stacks: Vec<Stack> = self.trials.iter().map(|trial| trial.entry.stack).collect();
        stacks.sort_unstable();
        stacks.dedup();
        stacks
    }
}

/// Runs the storm and writes what it found.
pub(crate) fn run(options: &Options) -> Outcome<ExitCode> {
    let entries = plan::entries(options)?;
    report::prepare(&options.out)?;
    let bench = Bench::set_up(Pace::of(options.quick));
    let mut findings = Findings {
        quick: options.quick,
        seed: options.seed,
        apart: bench.allowed.apart(),
        pace: bench.pace,
        calibrations: Vec::new(),
        trials: Vec::new(),
        interrupted: false,
    };
    runtime()?.block_on(until_interrupted(&bench, &entries, &mut findings))?;
    if findings.trials.is_empty() {
        return Err("interrupted before anything was measured".into());
    }
    print!("{}", table::render(&findings));
    let compared =
        forecast::compared(&findings.trials, &findings.calibrations, findings.pace.deadline)?;
    print!("\n{compared}");
    let page = report::write(&options.out, &findings)?;
    println!("\n{}", page.display());
    Ok(if findings.interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// The runtime of the load, on this thread. It looks at its sockets often, so that answers are not read late.
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
        _ = ctrl_c() => None,
    };
    findings.interrupted = finished.is_none();
    finished.unwrap_or(Ok(()))
}

async fn storm(bench: &Bench, entries: &[Entry], findings: &mut Findings) -> Outcome<()> {
    let handlers = handlers(entries);
    let searches = entries.iter().any(|entry| entry.stack == Stack::Tower);
    let calibrating = calibrate::expected(bench, searches);
    let storming: Duration = entries.iter().map(|entry| bench.pace.end(entry.scenario)).sum();
    let mut progress = Progress::start(calibrating * handlers.len() as u32 + storming);
    for handler in handlers {
        progress.stage(&format!("{}: what it can do at best", handler.name()), calibrating);
        let calibration = calibrate(bench, handler, searches, findings.seed).await?;
        progress.say(&table::calibration(&calibration));
        findings.calibrations.push(calibration);
    }
    for &entry in entries {
        let name =
            format!("{} {} {}", entry.handler.name(), entry.scenario.name(), entry.stack.name());
        progress.stage(&name, bench.pace.end(entry.scenario));
        let calibration = findings.calibrations.iter().find(|known| known.handler == entry.handler);
        let calibration = calibration.expect("every handler was calibrated");
        let trial = trial::run(bench, entry, calibration, findings.seed).await?;
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
