//! Runs everything on all cores; the results are in the order of the questions.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::catalogue::Entry;
use crate::parallel;
use crate::paused;
use crate::run::Run;
use crate::scenario::Scenario;
use crate::score::judge;
use crate::world::plan::Plan;
use crate::world::simulate;

use super::options::{Driver, Options};

#[derive(Debug)]
pub(super) struct Bench {
    pub(super) scenarios: Vec<Scenario>,
    controllers: Vec<&'static Entry>,
    seeds: u64,
    driver: Driver,
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
            driver: options.driver,
        })
    }

    pub(super) fn run(&self) -> (Vec<Run>, Spent) {
        let plans: Vec<Plan> = self.scenarios.iter().map(Plan::of).collect();
        let count = self.scenarios.len() * self.controllers.len() * self.seeds as usize;
        let cells: Vec<usize> = (0..count).collect();
        let mut spent = Spent::default();
        let found = parallel::each("suite", &cells, |cell| self.cell(*cell, &plans));
        let runs = found.into_iter().map(|(run, requests, time)| {
            spent.requests += requests;
            spent.time += time;
            run
        });
        (runs.collect(), spent)
    }

    fn cell(&self, cell: usize, plans: &[Plan]) -> (Run, u64, Duration) {
        let seeds = self.seeds as usize;
        let seed = (cell % seeds) as u64 + 1;
        let controller = self.controllers[cell / seeds % self.controllers.len()];
        let index = cell / seeds / self.controllers.len();
        let began = Instant::now();
        let journal = match self.driver {
            Driver::World => simulate(&plans[index], controller, seed),
            Driver::Tower => paused::simulate(&plans[index], seed),
        };
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
