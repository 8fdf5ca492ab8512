//! The machine that ships, driven as a gate drives it.

use std::collections::{BTreeMap, BTreeSet};

use backpressure_core::{
    Adaptive, Decision, Machine, Next as Turn, QueueBounds, Sample, Shed, Ticket, Timestamp,
    Verdict,
};

use crate::controller::{Answer, Controller, Instruments, Next, Refusal, Site, Visitor};

#[derive(Debug)]
struct Ours {
    machine: Machine,
    in_flight: usize,
    /// Those who wait: by ticket, by name, and in the order in which their time is up.
    waiting: BTreeMap<Ticket, Place>,
    tickets: BTreeMap<u64, Ticket>,
    ends: BTreeSet<(Timestamp, Ticket)>,
    /// Whose answer's head is out and has been learnt from.
    answered: BTreeSet<u64>,
    /// Whose time was up at the last tick.
    expired: Vec<Next>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    id: u64,
    until: Timestamp,
}

pub(super) fn make(site: &Site) -> Box<dyn Controller> {
    let limit = Adaptive::new((site.cores.round() as usize).clamp(1, 4_096));
    Box::new(Ours {
        machine: Machine::new(Box::new(limit), QueueBounds::default()),
        in_flight: 0,
        waiting: BTreeMap::new(),
        tickets: BTreeMap::new(),
        ends: BTreeSet::new(),
        answered: BTreeSet::new(),
        expired: Vec::new(),
    })
}

impl Ours {
    fn wait(&mut self, id: u64, ticket: Ticket, until: Timestamp) {
        self.waiting.insert(ticket, Place { id, until });
        self.tickets.insert(id, ticket);
        self.ends.insert((until, ticket));
    }

    /// Gives the place of a ticket up and says whose it was.
    fn forget(&mut self, ticket: Ticket) -> Option<u64> {
        let place = self.waiting.remove(&ticket)?;
        self.tickets.remove(&place.id);
        self.ends.remove(&(place.until, ticket));
        Some(place.id)
    }

    fn expire(&mut self, ticket: Ticket, now: Timestamp) {
        let shed = self.machine.expire(ticket, now);
        if let (Some(id), Some(shed)) = (self.forget(ticket), shed) {
            self.expired.push(Next::Shed(id, refusal(shed)));
        }
    }
}

impl Controller for Ours {
    fn arrive(&mut self, visitor: Visitor, now: Timestamp) -> Answer {
        match self.machine.arrive(visitor.arrival, self.in_flight, now) {
            Verdict::Run => {
                self.in_flight += 1;
                Answer::Run
            }
            Verdict::Wait(ticket, until) => {
                self.wait(visitor.id, ticket, until);
                Answer::Wait
            }
            Verdict::Shed(shed) => Answer::Shed(refusal(shed)),
        }
    }

    fn answered(&mut self, visitor: Visitor, sample: &Sample, now: Timestamp) {
        self.answered.insert(visitor.id);
        self.machine.depart(sample, now);
    }

    fn depart(&mut self, visitor: Visitor, sample: &Sample, now: Timestamp) {
        self.in_flight -= 1;
        if sample.weight > 0 && !self.answered.remove(&visitor.id) {
            self.machine.depart(sample, now);
        }
    }

    fn next(&mut self, now: Timestamp) -> Option<Next> {
        if let Some(expired) = self.expired.pop() {
            return Some(expired);
        }
        match self.machine.next(self.in_flight, now)? {
            Turn::Run(ticket) => {
                self.in_flight += 1;
                self.forget(ticket).map(Next::Run)
            }
            Turn::Shed(ticket, shed) => self.forget(ticket).map(|id| Next::Shed(id, refusal(shed))),
        }
    }

    fn abandon(&mut self, visitor: Visitor, _now: Timestamp) {
        if let Some(&ticket) = self.tickets.get(&visitor.id) {
            self.forget(ticket);
            self.machine.abandon(ticket);
        }
    }

    fn alarm(&self) -> Option<Timestamp> {
        self.ends.first().map(|&(until, _)| until)
    }

    fn tick(&mut self, _instruments: &Instruments, now: Timestamp) {
        while let Some(&(until, ticket)) = self.ends.first() {
            if until > now {
                return;
            }
            self.expire(ticket, now);
        }
    }

    fn limit(&self) -> f64 {
        self.machine.limit() as f64
    }

    fn queued(&self) -> usize {
        self.machine.queued()
    }

    fn decision(&self) -> Option<Decision> {
        self.machine.decision()
    }
}

fn refusal(shed: Shed) -> Refusal {
    Refusal { retry_after: Some(shed.retry_after) }
}
