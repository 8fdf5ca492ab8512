//! Work at the stations.

use std::time::Duration;

use backpressure_core::Timestamp;

use crate::controller::TaskChange;

use super::World;
use super::attempt::Attempt;
use super::clock::seconds;
use super::event_queue::Event;
use super::slab::Id;
use super::station::{Station, done};

impl World<'_> {
    /// An attempt comes to a station of its replica.
    pub(super) fn visits(&mut self, id: Id, local: u32, draw: u64) {
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        let server = self.plan.servers[attempt.server as usize];
        let index = self.plan.services[server.service as usize].station(server.replica, local);
        let plan = &self.plan.stations[index];
        attempt.work = plan.draw.of(draw) * attempt.demand;
        match &mut self.stations[index] {
            Station::Fifo(fifo) => {
                if fifo.visible {
                    attempt.runnable = Some(self.now);
                    let controller = &mut self.servers[attempt.server as usize].controller;
                    let now = Timestamp::from_nanos(self.now);
                    controller.task(attempt.info.id, TaskChange::Woken, now);
                }
                fifo.queue.push_back((id, self.now));
                self.dispatch(index);
            }
            Station::Shared(shared) => {
                let work = attempt.work * plan.factor.at(seconds(self.now));
                let end = shared.join(plan, id, work, self.now);
                attempt.shared = Some((index as u32, end));
                self.schedule_completion(index);
            }
        }
    }

    pub(super) fn cores(&self, station: usize) -> u32 {
        self.plan.stations[station].cores.at(seconds(self.now)) as u32
    }

    /// Starts jobs as long as cores are free.
    fn dispatch(&mut self, index: usize) {
        let plan = &self.plan.stations[index];
        let cores = self.cores(index);
        let Station::Fifo(fifo) = &mut self.stations[index] else { return };
        while fifo.running < cores {
            let Some((id, since)) = fifo.queue.pop_front() else { return };
            let Some(attempt) = self.attempts.get_mut(id) else { continue };
            fifo.running += 1;
            attempt.runnable = None;
            let debt = std::mem::take(&mut fifo.debt);
            let work = attempt.work * plan.factor.at(seconds(self.now));
            if plan.counts && self.now >= self.judged_from {
                self.journal.work_done += attempt.work;
            }
            let Some(end) = done(plan, self.now, debt + work) else { continue };
            if fifo.visible {
                let begins = if debt > 0.0 { done(plan, self.now, debt) } else { None };
                let begins = begins.unwrap_or(self.now).min(end);
                attempt.run_queue += begins - since;
                attempt.busy += end - begins;
                attempt.computes = Some(begins);
                if begins > self.now {
                    self.events.push(begins, Event::Begins(id));
                } else {
                    let controller = &mut self.servers[attempt.server as usize].controller;
                    let now = Timestamp::from_nanos(self.now);
                    controller.task(attempt.info.id, TaskChange::PollBegins, now);
                }
            }
            self.events.push(end, Event::Served(index as u32, id));
        }
    }

    /// A core begins to compute for an attempt.
    pub(super) fn begins(&mut self, id: Id) {
        self.task(id, TaskChange::PollBegins);
    }

    /// Tells the controller what the executor does with the task of an attempt.
    fn task(&mut self, id: Id, change: TaskChange) {
        let now = self.time();
        if let Some(attempt) = self.attempts.get(id) {
            let (index, info) = (attempt.server, attempt.info);
            self.servers[index as usize].controller.task(info.id, change, now);
            self.unsettle(index);
        }
    }

    /// A core is free, and its attempt goes on unless it was cancelled.
    pub(super) fn served(&mut self, station: u32, id: Id) {
        let index = station as usize;
        if let Station::Fifo(fifo) = &mut self.stations[index] {
            fifo.running -= 1;
        }
        self.stops_computing(id);
        self.dispatch(index);
        self.advance(id);
    }

    /// The poll in which an attempt computed ends.
    fn stops_computing(&mut self, id: Id) {
        let now = self.now;
        let since = self.attempts.get_mut(id).and_then(|attempt| attempt.computes.take());
        if let Some(since) = since {
            let busy = Duration::from_nanos(now.saturating_sub(since));
            self.task(id, TaskChange::PollEnds(busy));
        }
    }

    /// A job at a shared station may be done.
    pub(super) fn shared(&mut self, station: u32, estimate: u32) {
        let index = station as usize;
        let plan = &self.plan.stations[index];
        let Station::Shared(shared) = &mut self.stations[index] else { return };
        if !shared.is_due(estimate) {
            return;
        }
        let mut ready = Vec::new();
        let attempts = &self.attempts;
        while let Some(id) = shared.pop(plan, self.now, |id| attempts.get(id).is_some()) {
            ready.push(id);
        }
        for id in ready {
            if let Some(attempt) = self.attempts.get_mut(id) {
                attempt.shared = None;
                if plan.counts && self.now >= self.judged_from {
                    self.journal.work_done += attempt.work;
                }
            }
            self.advance(id);
        }
        self.schedule_completion(index);
    }

    fn schedule_completion(&mut self, index: usize) {
        let plan = &self.plan.stations[index];
        if let Station::Shared(shared) = &mut self.stations[index]
            && let Some((at, estimate)) = shared.next_completion(plan, self.now)
        {
            self.events.push(at, Event::Shared(index as u32, estimate));
        }
    }

    /// Removes a cancelled attempt from the station that it shares.
    pub(super) fn unshare(&mut self, attempt: &Attempt) {
        let Some((station, end)) = attempt.shared else { return };
        let index = station as usize;
        let plan = &self.plan.stations[index];
        if let Station::Shared(shared) = &mut self.stations[index] {
            let left = shared.leave(plan, end, self.now) / plan.factor.at(seconds(self.now));
            if plan.counts && self.now >= self.judged_from {
                self.journal.work_done += (attempt.work - left).max(0.0);
            }
            self.schedule_completion(index);
        }
    }

    /// The number of cores has changed.
    pub(super) fn cores_change(&mut self, station: u32) {
        let index = station as usize;
        let plan = &self.plan.stations[index];
        match &mut self.stations[index] {
            Station::Fifo(_) => self.dispatch(index),
            Station::Shared(shared) => {
                shared.count(plan, self.now);
                shared.forget_estimate();
                self.schedule_completion(index);
            }
        }
    }
}
