//! Runs everything on all cores; the results are in the order of the questions.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::controller::catalogue::Entry;
use crate::run::Run;
use crate::scenario::Scenario;
use crate::score::judge;
use crate::world::plan::Plan;
use crate::world::simulate;

use super::options::Options;

#[derive(Debug)]
pub(super) struct Bench {
    pub(super) scenarios: Vec<Scenario>,
    controllers: Vec<&'static Entry>,
    seeds: u64,
}

/// What it took, all threads together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) requests: u64,
    pub(super) time: Duration,
}

impl Bench {
    pub(super) fn set_up(options: &Options) -> Result<Self, String> {
        Ok(Self {
            scenarios: options.scenarios()?,
            controllers: options.controllers()?,
            seeds: options.seeds,
        })
    }

    pub(super) fn run(&self) -> (Vec<Run>, Spent) {
        let plans: Vec<Plan> = self.scenarios.iter().map(Plan::of).collect();
        let cells = self.scenarios.len() * self.controllers.len() * self.seeds as usize;
        let results: Mutex<Vec<Option<Run>>> = Mutex::new((0..cells).map(|_| None).collect());
        let (next, spent) = (AtomicUsize::new(0), Mutex::new(Spent::default()));
        let bar = ProgressBar::new(cells as u64).with_style(style());
        let work = || loop {
            let cell = next.fetch_add(1, Ordering::Relaxed);
            if cell >= cells {
                return;
            }
            let (run, requests, time) = self.cell(cell, &plans);
            bar.set_message(format!("{} {}", run.scenario, run.controller));
            bar.inc(1);
            if let (Ok(mut results), Ok(mut spent)) = (results.lock(), spent.lock()) {
                results[cell] = Some(run);
                spent.requests += requests;
                spent.time += time;
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
        });
        bar.finish_and_clear();
        let runs = results.into_inner().unwrap_or_default().into_iter().flatten().collect();
        (runs, spent.into_inner().unwrap_or_default())
    }

    fn cell(&self, cell: usize, plans: &[Plan]) -> (Run, u64, Duration) {
        let seeds = self.seeds as usize;
        let seed = (cell % seeds) as u64 + 1;
        let controller = self.controllers[cell / seeds % self.controllers.len()];
        let index = cell / seeds / self.controllers.len();
        let began = Instant::now();
        let journal = simulate(&plans[index], controller, seed);
        let time = began.elapsed();
        let (score, course) = judge(&plans[index], &journal);
        let run = Run {
            scenario: self.scenarios[index].name.clone(),
            controller: controller.name.to_owned(),
            seed,
            score,
            course,
        };
        (run, journal.asked.len() as u64, time)
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("suite {bar:40.cyan/blue} {pos}/{len} {eta} left  {msg}")
        .expect("the template is fixed")
        .progress_chars("━╸─")
}
