//! What the simulator predicts for the service that the storm has measured, beside what the storm measured.
//!
//! The prediction is made from what the storm calibrated before its runs: the capacity, and the cost of a refusal.

use crate::controller::catalogue::find;
use crate::run::Score;
use crate::scenario::Scenario;
use crate::score::judge;
use crate::world::plan::Plan;
use crate::world::simulate;
use clap::Args;
use serde::Deserialize;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Seeds that a prediction is the mean of.
const SEEDS: u64 = 5;

/// Predict the runs of the storm from its own calibration
///
/// Reads the report of a storm (`cargo run --release`), simulates the same service under the same load with our
/// admission layer in front, and prints both.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The report of the storm
    #[arg(long, default_value = "target/storm/report.json", value_name = "FILE")]
    report: PathBuf,
}

/// The fields of a run in the storm's report that a prediction needs, or is compared with.
#[derive(Debug, Deserialize)]
struct SampleWindow {
    scenario: String,
    handler: String,
    stack: String,
    /// Requests a second.
    offered: f64,
    goodput_over_ceiling: f64,
    p99_ms: Option<f64>,
    /// Requests a second.
    capacity: f64,
    refusal_us: f64,
    deadline_ms: f64,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let path = options.report.display();
    let text = fs::read_to_string(&options.report)
        .map_err(|error| format!("{path}: {error}; `cargo run --release` writes it"))?;
    let runs: Vec<SampleWindow> =
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    print!("{}", compared(&runs)?);
    Ok(ExitCode::SUCCESS)
}

/// A line for every run at a steady load behind the admission layer alone.
fn compared(runs: &[SampleWindow]) -> Result<String, String> {
    let mut text = String::new();
    let predictable =
        |run: &&SampleWindow| run.stack == "backpressure" && run.scenario != "brown-out";
    for run in runs.iter().filter(predictable) {
        let forecast = Forecast::of(run)?;
        let p99 = run.p99_ms.map_or_else(|| "–".into(), |ms| format!("{ms:.1} ms"));
        writeln!(
            text,
            "{:<4} {:<5} {:>6.3} of what is possible, simulated {:>6.3}; p99 {p99:>9}, simulated {:>6.1} ms",
            run.handler, run.scenario, run.goodput_over_ceiling, forecast.goodput, forecast.p99_ms,
        )
        .expect("writing to a string does not fail");
    }
    Ok(text)
}

#[derive(Debug)]
struct Forecast {
    goodput: f64,
    p99_ms: f64,
}

impl Forecast {
    fn of(run: &SampleWindow) -> Result<Self, String> {
        let handler = Handler::named(&run.handler)?;
        let plan = Plan::of(&scenario(run, handler)?);
        let ours = find("ours").ok_or("ours is missing")?;
        let scores: Vec<Score> =
            (1..=SEEDS).map(|seed| judge(&plan, &simulate(&plan, &ours.make, seed))).collect();
        let mean = |of: fn(&Score) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
        let uncontended_s = 1.0 / run.capacity + f64::from(handler.rounds) * handler.sleep_s;
        Ok(Self {
            goodput: mean(|score| score.goodput_over_ceiling),
            p99_ms: mean(|score| score.p99_over_uncontended) * uncontended_s * 1e3,
        })
    }
}

/// A handler of the storm: how often it computes, and how long it sleeps after each time.
#[derive(Clone, Copy, Debug)]
struct Handler {
    rounds: u32,
    sleep_s: f64,
}

impl Handler {
    fn named(name: &str) -> Result<Self, String> {
        match name {
            "cpu" => Ok(Self { rounds: 1, sleep_s: 0.0 }),
            "mix" => Ok(Self { rounds: 4, sleep_s: 0.01 }),
            other => Err(format!("the storm has no handler {other}")),
        }
    }
}

/// The handler on one core, as fast as the storm measured it.
fn scenario(run: &SampleWindow, handler: Handler) -> Result<Scenario, String> {
    let Handler { rounds, sleep_s } = handler;
    let sleep = if sleep_s > 0.0 {
        format!("[[service.stage]]\nkind = 'delay'\ntime = {{ fixed = {sleep_s} }}\n")
    } else {
        String::new()
    };
    let parts = format!(
        "[[service]]\nname = 'api'\nrounds = {rounds}\nrefusal = {}\n\
         [[service.stage]]\nkind = 'fifo'\ncores = 1\nvisible = true\ntime = {{ fixed = {} }}\n{sleep}\
         [[stream]]\nload = {}\npatience = {}\n",
        run.refusal_us * 1e-6,
        1.0 / run.capacity / f64::from(rounds),
        run.offered / run.capacity,
        run.deadline_ms * 1e-3,
    );
    Ok(Scenario { warmup: 5.0, ..Scenario::made_up(40.0, &parts)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_handlers_of_the_storm_can_be_predicted_and_lose_next_to_nothing_at_twice_their_capacity()
     {
        for (handler, capacity) in [("cpu", 197.0), ("mix", 246.0)] {
            let run = SampleWindow {
                scenario: "2x".into(),
                handler: handler.into(),
                stack: "backpressure".into(),
                offered: 2.0 * capacity,
                goodput_over_ceiling: 1.0,
                p99_ms: None,
                capacity,
                refusal_us: 10.0,
                deadline_ms: 1000.0,
            };
            let forecast = Forecast::of(&run).unwrap();
            assert!((0.9..1.02).contains(&forecast.goodput), "{forecast:?}");
            assert!((5.0..200.0).contains(&forecast.p99_ms), "{forecast:?}");
        }
    }
}
