//! One run of ours, change by change: the new limit, its cause, and the figures that it rests on.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use backpressure_core::{Decision, Sample, Timestamp};
use clap::Args;

use crate::controller::catalogue;
use crate::controller::{Answer, AttemptInfo, Controller, Instruments, Next, Site};
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
    let ours = catalogue::find("ours").ok_or("the catalogue is without ours")?;
    let aloud = |site: &Site| Aloud::of((ours.make)(site), site);
    let journal = simulate(&plan, &aloud, options.seed);
    let score = judge(&plan, &journal);
    say(&serde_json::to_string_pretty(&score)?);
    Ok(ExitCode::SUCCESS)
}

/// The reader may close the pipe early.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints every change of the limit as it is made.
#[derive(Debug)]
struct Aloud {
    inner: Box<dyn Controller>,
    replica: u32,
    told: Option<Decision>,
}

impl Aloud {
    fn of(inner: Box<dyn Controller>, site: &Site) -> Box<dyn Controller> {
        Box::new(Self { inner, replica: site.replica, told: None })
    }

    fn tell(&mut self) {
        let decision = self.inner.decision();
        if let Some(moved) = decision.filter(|moved| Some(*moved) != self.told) {
            let seconds = moved.at.as_nanos() as f64 / 1e9;
            say(&format!("{seconds:9.3} s  replica {}  {moved}", self.replica));
        }
        self.told = decision;
    }
}

impl Controller for Aloud {
    fn arrive(&mut self, attempt: AttemptInfo, now: Timestamp) -> Answer {
        let answer = self.inner.arrive(attempt, now);
        self.tell();
        answer
    }

    fn depart(&mut self, attempt: AttemptInfo, sample: &Sample, now: Timestamp) {
        self.inner.depart(attempt, sample, now);
        self.tell();
    }

    fn answered(&mut self, attempt: AttemptInfo, sample: &Sample, now: Timestamp) -> bool {
        let learnt = self.inner.answered(attempt, sample, now);
        self.tell();
        learnt
    }

    fn next(&mut self, now: Timestamp) -> Option<Next> {
        self.inner.next(now)
    }

    fn abandon(&mut self, attempt: AttemptInfo, now: Timestamp) {
        self.inner.abandon(attempt, now);
    }

    fn next_tick(&self) -> Option<Timestamp> {
        self.inner.next_tick()
    }

    fn tick(&mut self, instruments: &Instruments, now: Timestamp) {
        self.inner.tick(instruments, now);
        self.tell();
    }

    fn limit(&self) -> f64 {
        self.inner.limit()
    }

    fn queued(&self) -> usize {
        self.inner.queued()
    }
}
