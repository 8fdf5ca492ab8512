//! The machine that ships, driven as a gate drives it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use backpressure_core::{
    Adaptive, Decision, Machine, Next as Turn, QueueBounds, Sample, Shed, Ticket, Timestamp,
    Verdict,
};

use crate::controller::{Answer, Controller, Instruments, Next, Refusal, Site, Visitor};

#[derive(Debug)]
struct Ours {
    machine: Machine,
    in_flight: usize,
    /// How many may be in flight before an arrival has to ask.
    open: usize,
    /// Who came in without asking since the machine was last told.
    passed: u32,
    /// Those who wait: by ticket, by name, and in the order in which their time is up.
    waiting: BTreeMap<Ticket, Place>,
    tickets: BTreeMap<u64, Ticket>,
    ends: BTreeSet<(Timestamp, Ticket)>,
    /// How many were in flight when they were let in, those included.
    entries: BTreeMap<u64, usize>,
    /// Who was let in or turned away, and has not heard of it.
    decided: VecDeque<Next>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    id: u64,
    until: Timestamp,
}

pub(super) fn make(site: &Site) -> Box<dyn Controller> {
    let limit = Adaptive::new((site.cores.round() as usize).clamp(1, 4_096));
    let machine = Machine::new(Box::new(limit), QueueBounds::default());
    Box::new(Ours {
        in_flight: 0,
        open: machine.open(),
        passed: 0,
        machine,
        waiting: BTreeMap::new(),
        tickets: BTreeMap::new(),
        ends: BTreeSet::new(),
        entries: BTreeMap::new(),
        decided: VecDeque::new(),
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
        let shed = self.visit(now, |machine, _| machine.expire(ticket, now));
        if let (Some(id), Some(shed)) = (self.forget(ticket), shed) {
            self.decided.push_back(Next::Shed(id, refusal(shed)));
        }
        self.settle(now);
    }

    fn enter(&mut self, id: u64) {
        self.in_flight += 1;
        self.entries.insert(id, self.in_flight);
    }

    fn leave(&mut self, id: u64, now: Timestamp) {
        self.in_flight -= 1;
        self.entries.remove(&id);
        if self.open == 0 {
            self.visit(now, |_, _| ());
            self.settle(now);
        }
    }

    /// Asks the machine, or tells it; [`settle`](Self::settle) comes next.
    fn visit<T>(&mut self, now: Timestamp, visit: impl FnOnce(&mut Machine, usize) -> T) -> T {
        let passed = std::mem::take(&mut self.passed);
        if passed > 0 {
            self.machine.passed(passed, now);
        }
        visit(&mut self.machine, self.in_flight)
    }

    /// Lets in whoever can run, turns away whoever cannot, and opens as far as it goes.
    fn settle(&mut self, now: Timestamp) {
        while let Some(decision) = self.machine.next(self.in_flight, now) {
            let (Turn::Run(ticket) | Turn::Shed(ticket, _)) = decision;
            let Some(id) = self.forget(ticket) else { continue };
            let next = match decision {
                Turn::Run(_) => {
                    self.enter(id);
                    Next::Run(id)
                }
                Turn::Shed(_, shed) => Next::Shed(id, refusal(shed)),
            };
            self.decided.push_back(next);
        }
        self.open = self.machine.open();
    }
}

impl Controller for Ours {
    fn arrive(&mut self, visitor: Visitor, now: Timestamp) -> Answer {
        if self.in_flight < self.open {
            self.enter(visitor.id);
            self.passed += 1;
            return Answer::Run;
        }
        let asks =
            |machine: &mut Machine, in_flight| machine.arrive(visitor.arrival, in_flight, now);
        let answer = match self.visit(now, asks) {
            Verdict::Run => {
                self.enter(visitor.id);
                Answer::Run
            }
            Verdict::Wait(ticket, until) => {
                self.wait(visitor.id, ticket, until);
                Answer::Wait
            }
            Verdict::Shed(shed) => Answer::Shed(refusal(shed)),
        };
        self.settle(now);
        answer
    }

    /// As a permit does it: what was measured is told while the place is still taken.
    fn depart(&mut self, visitor: Visitor, sample: &Sample, now: Timestamp) {
        if sample.weight > 0 {
            self.answered(visitor, sample, now);
        }
        self.leave(visitor.id, now);
    }

    fn answered(&mut self, visitor: Visitor, sample: &Sample, now: Timestamp) -> bool {
        let in_flight = self.entries.get(&visitor.id).copied().unwrap_or(sample.in_flight);
        let sample = Sample { in_flight, ..*sample };
        self.visit(now, |machine, _| machine.depart(&sample, now));
        self.settle(now);
        true
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        self.decided.pop_front()
    }

    fn abandon(&mut self, visitor: Visitor, now: Timestamp) {
        if let Some(&ticket) = self.tickets.get(&visitor.id) {
            self.forget(ticket);
            self.visit(now, |machine, _| machine.abandon(ticket));
            self.settle(now);
            return;
        }
        let decided = self.decided.iter().position(|next| names(*next, visitor.id));
        if let Some(Next::Run(_)) = decided.and_then(|index| self.decided.remove(index)) {
            self.leave(visitor.id, now);
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

fn names(next: Next, id: u64) -> bool {
    let (Next::Run(named) | Next::Shed(named, _)) = next;
    named == id
}
