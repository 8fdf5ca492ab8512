//! The stations: who works there, and who stands in line.

use std::collections::VecDeque;
use std::task::Waker;

use crate::world::clock::seconds;
use crate::world::plan::Plan;
use crate::world::slab::{Id, Slab};
use crate::world::station::Station;

/// All stations of a run.
pub(super) struct Stations<'p> {
    pub(super) plan: &'p Plan,
    pub(super) all: Vec<Station>,
    /// There until they are done or given up.
    pub(super) jobs: Slab<Job>,
    /// Jobs of this process that a core has turned to: they are to be polled.
    pub(super) granted: VecDeque<Id>,
}

pub(super) struct Job {
    pub(super) work: f64,
    pub(super) waker: Waker,
    /// At a visible station: the task that is to be polled there.
    pub(super) task: Id,
    /// Which of the workers computes it.
    pub(super) core: Option<usize>,
    /// At a shared station: where its work ends.
    pub(super) shared: Option<f64>,
}

impl<'p> Stations<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        let all = plan.stations.iter().map(Station::new).collect();
        Self { plan, all, jobs: Slab::new(), granted: VecDeque::new() }
    }

    pub(super) fn cores(&self, index: usize, now: u64) -> u32 {
        self.plan.stations[index].cores.at(seconds(now)) as u32
    }

    /// The task that a core is to poll for this job.
    pub(super) fn task(&self, job: Id) -> Option<Id> {
        self.jobs.get(job).map(|job| job.task)
    }

    /// This worker computes the job.
    pub(super) fn computes(&mut self, job: Id, core: usize) {
        if let Some(job) = self.jobs.get_mut(job) {
            job.core = Some(core);
        }
    }

    /// A refusal costs time on the core, unless one is idle.
    pub(super) fn charge(&mut self, index: usize, cost: f64, now: u64) {
        let cores = self.cores(index, now);
        if let Station::Fifo(fifo) = &mut self.all[index]
            && fifo.running >= cores
        {
            fifo.debt += cost;
        }
    }
}
