//! Work at the stations, and an attempt's visit to one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::world::clock::seconds;
use crate::world::plan::Sharing;
use crate::world::slab::Id;
use crate::world::station::{Station, done};

use super::cores::compute;
use super::event::Event;
use super::stage::{Stage, State};
use super::station::{Job, Stations};

impl State<'_> {
    fn enters(&mut self, index: usize, work: f64, waker: Waker) -> Id {
        let plan = &self.stations.plan.stations[index];
        let visible = plan.sharing == (Sharing::Fifo { visible: true });
        let task = if visible { self.tasks.hold() } else { Id::NONE };
        let id = self.stations.jobs.insert(Job { work, waker, task, core: None, shared: None });
        match &mut self.stations.all[index] {
            Station::Fifo(fifo) => {
                fifo.queue.push_back((id, self.now));
                self.dispatch(index);
            }
            Station::Shared(shared) => {
                let end = shared.join(plan, id, work * plan.factor.at(seconds(self.now)), self.now);
                if let Some(job) = self.stations.jobs.get_mut(id) {
                    job.shared = Some(end);
                }
                self.look_again(index);
            }
        }
        id
    }

    /// Starts whatever can start.
    fn dispatch(&mut self, index: usize) {
        let judged = self.is_judged();
        let cores = self.stations.cores(index, self.now);
        let Stations { plan, all, jobs, granted } = &mut self.stations;
        let plan = &plan.stations[index];
        let Station::Fifo(fifo) = &mut all[index] else { return };
        while fifo.running < cores {
            let Some((id, _)) = fifo.queue.pop_front() else { return };
            let Some(job) = jobs.get(id) else { continue };
            fifo.running += 1;
            let debt = std::mem::take(&mut fifo.debt);
            let work = job.work * plan.factor.at(seconds(self.now));
            if plan.counts && judged {
                self.journal.work_done += job.work;
            }
            let Some(end) = done(plan, self.now, debt + work) else { continue };
            if fifo.visible {
                let begins = if debt > 0.0 { done(plan, self.now, debt) } else { None };
                match begins.map(|begins| begins.min(end)) {
                    Some(begins) => self.agenda.push(begins, Event::Begins(id)),
                    None => granted.push_back(id),
                }
            }
            self.agenda.push(end, Event::Served(index as u32, id));
        }
    }

    /// A core has done a job: the worker to resume, or the task to wake.
    pub(super) fn served(&mut self, station: u32, job: Id) -> Served {
        let index = station as usize;
        if let Station::Fifo(fifo) = &mut self.stations.all[index] {
            fifo.running -= 1;
        }
        self.dispatch(index);
        match self.stations.jobs.remove(job) {
            Some(Job { core: Some(core), task, .. }) => Served::Computed(core, task),
            Some(job) => Served::Elsewhere(job.waker),
            None => Served::ForNobody,
        }
    }

    /// Somebody at a shared station may be done: whom to wake.
    pub(super) fn shared(&mut self, station: u32, estimate: u32) -> Vec<Waker> {
        let judged = self.is_judged();
        let index = station as usize;
        let mut wakers = Vec::new();
        let Stations { plan, all, jobs, .. } = &mut self.stations;
        let plan = &plan.stations[index];
        let Station::Shared(shared) = &mut all[index] else { return wakers };
        if !shared.is_due(estimate) {
            return wakers;
        }
        while let Some(id) = shared.pop(plan, self.now, |id| jobs.get(id).is_some()) {
            let Some(job) = jobs.remove(id) else { continue };
            if plan.counts && judged {
                self.journal.work_done += job.work;
            }
            wakers.push(job.waker);
        }
        self.look_again(index);
        wakers
    }

    fn look_again(&mut self, index: usize) {
        let plan = &self.stations.plan.stations[index];
        if let Station::Shared(shared) = &mut self.stations.all[index]
            && let Some((at, estimate)) = shared.look(plan, self.now)
        {
            self.agenda.push(at, Event::Shared(index as u32, estimate));
        }
    }

    /// The number of cores has changed.
    pub(super) fn recounts(&mut self, station: u32) {
        let index = station as usize;
        let plan = &self.stations.plan.stations[index];
        match &mut self.stations.all[index] {
            Station::Fifo(_) => self.dispatch(index),
            Station::Shared(shared) => {
                shared.count(plan, self.now);
                shared.reconsider();
                self.look_again(index);
            }
        }
    }

    /// A job is given up before it is done: what runs on a core runs on for nobody.
    fn gives_up(&mut self, index: usize, id: Id) -> Option<Job> {
        let judged = self.is_judged();
        let job = self.stations.jobs.remove(id)?;
        let plan = &self.stations.plan.stations[index];
        if let (Station::Shared(shared), Some(end)) = (&mut self.stations.all[index], job.shared) {
            let left = shared.leave(plan, end, self.now) / plan.factor.at(seconds(self.now));
            if plan.counts && judged {
                self.journal.work_done += (job.work - left).max(0.0);
            }
            self.look_again(index);
        }
        Some(job)
    }
}

/// Whose job a core has done.
pub(super) enum Served {
    /// That of a worker of this process.
    Computed(usize, Id),
    Elsewhere(Waker),
    ForNobody,
}

/// An attempt's visit to a station.
pub(super) struct Visit<'p> {
    stage: Arc<Stage<'p>>,
    index: usize,
    work: f64,
    job: Id,
}

impl<'p> Visit<'p> {
    pub(super) fn new(stage: &Arc<Stage<'p>>, index: usize, work: f64) -> Self {
        Self { stage: Arc::clone(stage), index, work, job: Id::NONE }
    }
}

impl Future for Visit<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.job == Id::NONE {
            let (index, work, waker) = (self.index, self.work, cx.waker().clone());
            let job = self.stage.state().enters(index, work, waker);
            self.job = job;
            let waits = self.stage.state().stations.task(job);
            if waits.is_some_and(|task| task != Id::NONE) {
                // Runnable from now on, and polled once a core is free.
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let mut state = self.stage.state();
        let Some(job) = state.stations.jobs.get_mut(self.job) else { return Poll::Ready(()) };
        if job.task == Id::NONE {
            job.waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        drop(state);
        if compute() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let job = self.stage.state().gives_up(self.index, self.job);
        drop(job);
    }
}
