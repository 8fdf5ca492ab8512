//! Runs the suite on all cores. The results do not depend on the number of cores.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::catalogue::{self, Entry};
use crate::parallel;
use crate::run::Run;
use crate::scenario::{Scenario, library};
use crate::score::judge;
use crate::world::plan::Plan;
use crate::world::simulate;

use super::options::Options;

/// Every build runs the smoke scenarios with these, and one seed.
const CONTROLLERS: [&str; 3] = ["none", "static-2c", "ours"];
const SEEDS: u64 = 1;

#[derive(Debug)]
pub(super) struct Runner {
    pub(super) scenarios: Vec<Scenario>,
    controllers: Vec<&'static Entry>,
    seeds: u64,
}

/// Requests and time of all threads together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) requests: u64,
    pub(super) time: Duration,
}

impl Runner {
    pub(super) fn set_up(options: &Options) -> Result<Self, String> {
        if options.smoke {
            return Self::smoke();
        }
        Ok(Self {
            scenarios: options.scenarios()?,
            controllers: options.controllers()?,
            seeds: options.seeds,
        })
    }

    /// The runs of every build.
    pub(super) fn smoke() -> Result<Self, String> {
        let mut scenarios = library::all()?;
        scenarios.retain(|scenario| scenario.smoke);
        let known = CONTROLLERS.iter().filter_map(|name| catalogue::find(name));
        Ok(Self { scenarios, controllers: known.collect(), seeds: SEEDS })
    }

    pub(super) fn run(&self) -> (Vec<Run>, Spent) {
        let plans: Vec<Plan> = self.scenarios.iter().map(Plan::of).collect();
        let cells: Vec<usize> = (0..self.scenarios.len() * self.controllers.len()).collect();
        let mut spent = Spent::default();
        let found = parallel::each("suite", &cells, |cell| self.cell(*cell, &plans));
        let runs = found.into_iter().flat_map(|(runs, here)| {
            spent.requests += here.requests;
            spent.time += here.time;
            runs
        });
        (runs.collect(), spent)
    }

    /// A controller in a scenario, with every seed.
    fn cell(&self, cell: usize, plans: &[Plan]) -> (Vec<Run>, Spent) {
        let controller = self.controllers[cell % self.controllers.len()];
        let index = cell / self.controllers.len();
        let (name, plan) = (&self.scenarios[index].name, &plans[index]);
        let mut spent = Spent::default();
        let seeds = 1..=self.seeds;
        let runs = seeds.map(|seed| run_one(name, plan, controller, seed, &mut spent));
        (runs.collect(), spent)
    }
}

fn run_one(name: &str, plan: &Plan, controller: &Entry, seed: u64, spent: &mut Spent) -> Run {
    let began = Instant::now();
    let journal = simulate(plan, &controller.make, seed);
    spent.time += began.elapsed();
    spent.requests += journal.asked.len() as u64;
    let score = judge(plan, &journal);
    let (scenario, controller) = (name.to_owned(), controller.name.to_owned());
    Run { scenario, controller, seed, score }
}

/// The runs of every build, once for all tests.
#[cfg(test)]
pub(super) fn smoke() -> &'static (Vec<Scenario>, Vec<Run>) {
    use std::sync::OnceLock;

    static SMOKE: OnceLock<(Vec<Scenario>, Vec<Run>)> = OnceLock::new();
    SMOKE.get_or_init(|| {
        let bench = Runner::smoke().expect("they are sound");
        let runs = bench.run().0;
        (bench.scenarios, runs)
    })
}
