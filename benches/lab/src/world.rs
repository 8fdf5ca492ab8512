//! The world: an exact, repeatable simulation in virtual nanoseconds.
//!
//! The same seed gives the same arrivals and the same demands to every controller: whatever belongs
//! to a request is drawn from the request's own name.

mod agenda;
mod alarm;
mod arrivals;
mod callers;
mod clock;
mod door;
pub(crate) mod journal;
mod own;
pub(crate) mod plan;
mod retries;
mod slab;
mod source;
mod station;
#[cfg(test)]
mod theory;
mod walk;
mod work;

use backpressure_core::Timestamp;

use crate::controller::Make;
use agenda::{Agenda, Event};
use callers::Request;
use clock::{nanos, seconds};
use door::Post;
use journal::{Journal, Level};
use plan::Plan;
use slab::Slab;
use source::Source;
use station::Station;
use walk::Attempt;

/// Moments at which levels are read off.
pub(crate) const LOOKS: u32 = 200;

/// One run in the making.
#[derive(Debug)]
pub(crate) struct World<'p> {
    plan: &'p Plan,
    seed: u64,
    now: u64,
    agenda: Agenda,
    attempts: Slab<Attempt>,
    requests: Slab<Request>,
    stations: Vec<Station>,
    posts: Vec<Post>,
    sources: Vec<Source>,
    /// Whose turn it is behind round robin, for each service.
    turns: Vec<u32>,
    /// Posts where somebody may be let in.
    unsettled: Vec<u32>,
    judged_from: u64,
    journal: Journal,
}

/// Runs a scenario once, with one controller at each door.
pub(crate) fn simulate(plan: &Plan, make: &Make<'_>, seed: u64) -> Journal {
    World::new(plan, make, seed).run(nanos(plan.seconds))
}

impl<'p> World<'p> {
    pub(crate) fn new(plan: &'p Plan, make: &Make<'_>, seed: u64) -> Self {
        let mut world = Self {
            plan,
            seed,
            now: 0,
            agenda: Agenda::new(),
            attempts: Slab::new(),
            requests: Slab::new(),
            stations: plan.stations.iter().map(Station::new).collect(),
            posts: plan.posts.iter().map(|post| Post::new(post, make, seed)).collect(),
            sources: Vec::new(),
            turns: vec![0; plan.services.len()],
            unsettled: Vec::new(),
            judged_from: nanos(plan.warmup),
            journal: Journal::default(),
        };
        world.open();
        world
    }

    /// Puts on the agenda what is known from the start.
    fn open(&mut self) {
        self.open_sources();
        for (index, station) in self.plan.stations.iter().enumerate() {
            for at in station.cores.moments() {
                self.agenda.push(nanos(at), Event::Recounts(index as u32));
            }
        }
        for post in 0..self.posts.len() as u32 {
            self.set_alarm(post);
        }
        self.agenda.push(0, Event::Look);
    }

    fn run(mut self, end: u64) -> Journal {
        self.play(end);
        self.journal
    }

    /// Lets happen what happens until `end`, or until nothing is left to happen.
    fn play(&mut self, end: u64) {
        self.journal.end = end;
        while let Some((at, event)) = self.agenda.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.happens(event);
            self.settle();
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrives(source) => self.arrives(source),
            Event::Sends(request) => self.sends(request),
            Event::Calls(attempt) => self.calls(attempt),
            Event::Begins(attempt) => self.begins(attempt),
            Event::Served(station, attempt) => self.served(station, attempt),
            Event::Shared(station, estimate) => self.shared(station, estimate),
            Event::Passed(attempt) => self.advance(attempt),
            Event::Read(attempt) => self.departs(attempt),
            Event::Recounts(station) => self.recounts(station),
            Event::Alarm(post) => self.alarm(post),
            Event::Leaves(attempt) => self.leaves(attempt),
            Event::Look => self.look(),
        }
    }

    fn look(&mut self) {
        let entry = &self.posts[..self.plan.services[0].replicas as usize];
        self.journal.levels.push(Level {
            at: seconds(self.now),
            limit: entry.iter().map(Post::limit).sum(),
            in_flight: entry.iter().map(|post| f64::from(post.in_flight)).sum(),
            queued: entry.iter().map(Post::queued).sum(),
        });
        let next = self.now + nanos(self.plan.seconds / f64::from(LOOKS));
        if next <= nanos(self.plan.seconds) {
            self.agenda.push(next, Event::Look);
        }
    }

    const fn time(&self) -> Timestamp {
        Timestamp::from_nanos(self.now)
    }

    const fn is_judged(&self) -> bool {
        self.now >= self.judged_from
    }
}
