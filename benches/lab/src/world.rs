//! The world: an exact, repeatable simulation in virtual nanoseconds.
//!
//! The same seed gives the same arrivals and the same demands to every controller: everything that belongs to a request
//! is drawn from the request's own key.

mod admission;
mod arrivals;
mod attempt;
mod callers;
mod clock;
mod event_queue;
pub(crate) mod journal;
pub(crate) mod plan;
mod request;
pub(crate) mod retries;
mod slab;
mod source;
mod station;
#[cfg(test)]
mod theory;
mod ticks;
mod work;

use backpressure_core::Timestamp;

use crate::controller::Make;
use admission::Server;
use attempt::Attempt;
use callers::Request;
use clock::{nanos, seconds};
use event_queue::{Event, EventQueue};
use journal::{Journal, Level};
use plan::Plan;
use slab::Slab;
use source::Source;
use station::Station;

/// How often a run records its levels.
pub(crate) const LEVEL_SAMPLES: u32 = 200;

/// One run under way.
#[derive(Debug)]
pub(crate) struct World<'p> {
    plan: &'p Plan,
    seed: u64,
    now: u64,
    events: EventQueue,
    attempts: Slab<Attempt>,
    requests: Slab<Request>,
    stations: Vec<Station>,
    servers: Vec<Server>,
    sources: Vec<Source>,
    /// Replica that got the last request of round robin, for each service.
    turns: Vec<u32>,
    /// Servers whose controllers may have admitted or rejected a request that waited.
    unsettled: Vec<u32>,
    judged_from: u64,
    journal: Journal,
}

/// Runs a scenario once, with one controller at each server.
pub(crate) fn simulate(plan: &Plan, make: &Make<'_>, seed: u64) -> Journal {
    World::new(plan, make, seed).run(nanos(plan.seconds))
}

impl<'p> World<'p> {
    pub(crate) fn new(plan: &'p Plan, make: &Make<'_>, seed: u64) -> Self {
        let mut world = Self {
            plan,
            seed,
            now: 0,
            events: EventQueue::new(),
            attempts: Slab::new(),
            requests: Slab::new(),
            stations: plan.stations.iter().map(Station::new).collect(),
            servers: plan.servers.iter().map(|server| Server::new(server, make, seed)).collect(),
            sources: Vec::new(),
            turns: vec![0; plan.services.len()],
            unsettled: Vec::new(),
            judged_from: nanos(plan.warmup),
            journal: Journal::default(),
        };
        world.open();
        world
    }

    /// Queues the events that are known from the start.
    fn open(&mut self) {
        self.open_sources();
        for (index, station) in self.plan.stations.iter().enumerate() {
            for at in station.cores.moments() {
                self.events.push(nanos(at), Event::CoresChange(index as u32));
            }
        }
        for server in 0..self.servers.len() as u32 {
            self.schedule_tick(server);
        }
        self.events.push(0, Event::SampleLevels);
    }

    fn run(mut self, end: u64) -> Journal {
        self.run_until(end);
        self.journal
    }

    /// Handles events until `end`, or until there are none.
    fn run_until(&mut self, end: u64) {
        self.journal.end = end;
        while let Some((at, event)) = self.events.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.handle(event);
            self.settle();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrives(source) => self.arrives(source),
            Event::Sends(request) => self.sends(request),
            Event::Calls(attempt) => self.calls(attempt),
            Event::Begins(attempt) => self.begins(attempt),
            Event::Served(station, attempt) => self.served(station, attempt),
            Event::Shared(station, estimate) => self.shared(station, estimate),
            Event::Passed(attempt) => self.advance(attempt),
            Event::Read(attempt) => self.departs(attempt),
            Event::CoresChange(station) => self.cores_change(station),
            Event::Tick(server) => self.tick(server),
            Event::Leaves(attempt) => self.leaves(attempt),
            Event::SampleLevels => self.sample_levels(),
        }
    }

    fn sample_levels(&mut self) {
        let entry = &self.servers[..self.plan.services[0].replicas as usize];
        self.journal.levels.push(Level {
            at: seconds(self.now),
            limit: entry.iter().map(Server::limit).sum(),
            in_flight: entry.iter().map(|server| f64::from(server.in_flight)).sum(),
            queued: entry.iter().map(Server::queued).sum(),
        });
        let next = self.now + nanos(self.plan.seconds / f64::from(LEVEL_SAMPLES));
        if next <= nanos(self.plan.seconds) {
            self.events.push(next, Event::SampleLevels);
        }
    }

    const fn time(&self) -> Timestamp {
        Timestamp::from_nanos(self.now)
    }

    const fn is_judged(&self) -> bool {
        self.now >= self.judged_from
    }
}
