//! Admission: the controller of each server, and what happens to the attempts it admits, queues or rejects.

use std::time::Duration;

use backpressure_core::{Outcome, Priority, RequestInfo, Sample, Timestamp};

use crate::controller::{Answer, AttemptInfo, Controller, Make, Next, Refusal, Site};
use crate::scenario::stream::Criticality;

use super::World;
use super::attempt::{Attempt, State};
use super::clock::{mix, seconds};
use super::event_queue::Event;
use super::journal::AttemptOutcome;
use super::plan::{ServerPlan, StreamPlan};
use super::slab::Id;
use super::station::Station;

/// One replica of a service.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) controller: Box<dyn Controller>,
    /// Attempts admitted and not finished.
    pub(super) in_flight: u32,
    /// The same and those that wait. A load balancer counts these.
    outstanding: u32,
    unsettled: bool,
    /// When the controller is called next.
    pub(super) tick_at: Option<u64>,
}

impl Server {
    pub(super) fn new(plan: &ServerPlan, make: &Make<'_>, seed: u64) -> Self {
        let name = u64::from(plan.service) << 32 | u64::from(plan.replica);
        let site = Site { seed: mix(mix(seed, CONTROLLER), name), ..plan.site };
        let controller = make(&site);
        Self { controller, in_flight: 0, outstanding: 0, unsettled: false, tick_at: None }
    }

    pub(super) fn limit(&self) -> f64 {
        self.controller.limit()
    }

    pub(super) fn queued(&self) -> f64 {
        self.controller.queued() as f64
    }
}

impl Attempt {
    /// What was measured of the attempt by `now`, or by the head of its answer.
    fn sample(&self, now: u64, outcome: Outcome, weight: u32) -> Sample {
        let latency = self.head.unwrap_or(now - self.admitted);
        let queued = self.run_queue + self.runnable.map_or(0, |since| now - since);
        let span = Duration::from_nanos;
        Sample::new(span(latency), outcome)
            .run_queue(span(queued.min(latency)))
            .busy(span(self.busy.min(latency)))
            .in_flight(self.in_flight as usize)
            .weight(weight)
    }
}

// Constants mixed into a key, so that different draws from it differ.
const CONTROLLER: u64 = 21;
const REPLICA: u64 = 1 << 30;

/// Random number that chooses the replica for an attempt of a request.
pub(crate) fn replica_draw(key: u64, attempts: u32) -> u64 {
    mix(key, REPLICA + (u64::from(attempts) << 8))
}

impl World<'_> {
    /// A client sends an attempt to the first service, and waits until `until`.
    pub(super) fn enters(&mut self, id: Id, until: u64) {
        let Some(request) = self.requests.get_mut(id) else { return };
        let StreamPlan { stream, passes, .. } = &self.plan.streams[request.spec.stream as usize];
        let promised = std::mem::take(&mut request.promised);
        let mut arrival = RequestInfo::default()
            .priority(priority(stream.priority))
            .returning(std::mem::take(&mut request.returning));
        if stream.tells && until < u64::MAX {
            arrival = arrival.deadline(Timestamp::from_nanos(until));
        }
        let draw = replica_draw(request.spec.key, request.attempts());
        let info = AttemptInfo { id: 0, arrival };
        let attempt = Attempt {
            request: id,
            key: request.spec.key,
            demand: stream.demand,
            stages: *passes,
            promised,
            ..Attempt::new(info, 0)
        };
        let attempt = self.attempts.insert(attempt);
        request.attempt = attempt;
        if until < u64::MAX {
            self.events.push(until, Event::Leaves(attempt));
        }
        if promised && self.is_judged() {
            self.journal.promised += 1;
        }
        self.arrives_at_server(attempt, draw);
    }

    /// An attempt arrives at one of the replicas of its service.
    pub(super) fn arrives_at_server(&mut self, id: Id, draw: u64) {
        self.journal.entered += 1;
        let Some(service) = self.attempts.get(id).map(|attempt| attempt.service) else { return };
        let replica = self.replica(service, draw);
        let index = self.plan.services[service as usize].first_server + replica;
        let now = self.time();
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        attempt.server = index;
        attempt.info.id = id.to_bits();
        let info = attempt.info;
        let server = &mut self.servers[index as usize];
        server.outstanding += 1;
        match server.controller.arrive(info, now) {
            Answer::Run => self.admit(id),
            Answer::Wait => {}
            Answer::Shed(refusal) => self.refuse(id, refusal),
        }
        self.unsettle(index);
    }

    fn replica(&mut self, service: u32, draw: u64) -> u32 {
        let plan = &self.plan.services[service as usize];
        let at = seconds(self.now);
        let outstanding = |replica: u32| {
            let lost = plan.is_lost(replica, &self.plan.stations, at);
            (!lost).then(|| self.servers[(plan.first_server + replica) as usize].outstanding)
        };
        plan.replica(&mut self.turns[service as usize], draw, outstanding)
    }

    fn admit(&mut self, id: Id) {
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        let server = &mut self.servers[attempt.server as usize];
        server.in_flight += 1;
        attempt.state = State::Inside;
        attempt.admitted = self.now;
        attempt.in_flight = server.in_flight;
        if attempt.promised && self.now >= self.judged_from {
            self.journal.kept += 1;
        }
        self.advance(id);
    }

    fn refuse(&mut self, id: Id, refusal: Refusal) {
        let Some(attempt) = self.attempts.remove(id) else { return };
        self.journal.left += 1;
        self.servers[attempt.server as usize].outstanding -= 1;
        self.charge(&attempt);
        if self.attempts.get(attempt.parent).is_some() {
            self.returns(attempt.parent, Outcome::Overload);
        } else {
            self.attempt_ended(attempt.request, AttemptOutcome::Refused, refusal);
        }
    }

    /// A rejection costs time of a core, unless one is idle.
    fn charge(&mut self, attempt: &Attempt) {
        let service = &self.plan.services[attempt.service as usize];
        let Some(local) = service.refuses else { return };
        let replica = self.plan.servers[attempt.server as usize].replica;
        let index = service.station(replica, local);
        let cores = self.cores(index);
        if let Station::Fifo(fifo) = &mut self.stations[index]
            && fifo.running >= cores
        {
            fifo.debt += service.refusal;
        }
    }

    /// An attempt has left the service.
    pub(super) fn departs(&mut self, id: Id) {
        let Some(attempt) = self.attempts.remove(id) else { return };
        self.release(&attempt, attempt.outcome, u32::from(!attempt.measured));
    }

    pub(super) fn release(&mut self, attempt: &Attempt, outcome: Outcome, weight: u32) {
        self.journal.left += 1;
        let now = self.time();
        let server = &mut self.servers[attempt.server as usize];
        server.in_flight -= 1;
        server.outstanding -= 1;
        let sample = attempt.sample(self.now, outcome, weight);
        server.controller.depart(attempt.info, &sample, now);
        self.unsettle(attempt.server);
    }

    /// The head of an answer is sent.
    pub(super) fn answered(&mut self, id: Id) {
        let now = self.time();
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        let sample = attempt.sample(self.now, Outcome::Success, 1);
        let controller = &mut self.servers[attempt.server as usize].controller;
        attempt.measured = controller.answered(attempt.info, &sample, now);
        let server = attempt.server;
        self.unsettle(server);
    }

    /// The patience of the client is over.
    pub(super) fn leaves(&mut self, id: Id) {
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        if attempt.state == State::Reading || attempt.request == Id::NONE {
            return;
        }
        let request = std::mem::replace(&mut attempt.request, Id::NONE);
        let Some(known) = self.requests.get(request) else { return };
        if self.plan.streams[known.spec.stream as usize].stream.cancels {
            self.cancels(id);
        }
        self.attempt_ended(request, AttemptOutcome::Left, Refusal::default());
    }

    /// Cancels an attempt wherever it is. An attempt that computes is cancelled when it stops: a future cannot
    /// be dropped while it is being polled.
    pub(super) fn cancels(&mut self, id: Id) {
        let now = self.now;
        if let Some(attempt) = self.attempts.get_mut(id)
            && attempt.computes.is_some_and(|since| since <= now)
        {
            attempt.called_off = true;
            return;
        }
        let Some(attempt) = self.attempts.remove(id) else { return };
        if attempt.state == State::Waiting {
            self.journal.left += 1;
            let now = self.time();
            let server = &mut self.servers[attempt.server as usize];
            server.outstanding -= 1;
            server.controller.abandon(attempt.info, now);
            self.unsettle(attempt.server);
            return;
        }
        self.cancels(attempt.child);
        self.unshare(&attempt);
        self.release(&attempt, Outcome::Cancelled, u32::from(!attempt.measured));
    }

    pub(super) fn unsettle(&mut self, index: u32) {
        let server = &mut self.servers[index as usize];
        if !server.unsettled {
            server.unsettled = true;
            self.unsettled.push(index);
        }
    }

    /// Asks the controller of every server that something happened to for its decisions.
    pub(super) fn settle(&mut self) {
        while let Some(index) = self.unsettled.pop() {
            self.servers[index as usize].unsettled = false;
            let now = self.time();
            while let Some(next) = self.servers[index as usize].controller.next(now) {
                match next {
                    Next::Run(id) => self.admit(Id::from_bits(id)),
                    Next::Shed(id, refusal) => self.refuse(Id::from_bits(id), refusal),
                }
            }
            self.schedule_tick(index);
        }
    }
}

pub(crate) const fn priority(criticality: Criticality) -> Priority {
    match criticality {
        Criticality::Sheddable => Priority::Sheddable,
        Criticality::Deferrable => Priority::Deferrable,
        Criticality::Normal => Priority::Normal,
        Criticality::Critical => Priority::Critical,
    }
}
