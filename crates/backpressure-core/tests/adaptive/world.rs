//! A small exact simulation of a service behind the controller.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use backpressure_core::{
    Adaptive, Controller, Decision, Dequeued, Outcome, QueueBounds, RequestInfo, Sample, Ticket,
    Timestamp,
};

/// A service: so many workers; a request takes `rounds` turns of `cpu` on a worker, each followed
/// by `away` somewhere else, where at most `slots` are served at once.
#[derive(Clone, Copy)]
pub(crate) struct Service {
    pub(crate) workers: usize,
    pub(crate) rounds: u32,
    pub(crate) cpu: f64,
    pub(crate) away: f64,
    pub(crate) slots: usize,
}

/// Nothing but computing: the knee is one request a worker.
pub(crate) const CPU: Service =
    Service { workers: 1, rounds: 1, cpu: 0.005, away: 0.0, slots: usize::MAX };
/// Four turns of 1 ms, each followed by 10 ms elsewhere: the knee is 11 requests a worker.
pub(crate) const MIX: Service =
    Service { workers: 1, rounds: 4, cpu: 0.001, away: 0.010, slots: usize::MAX };
/// Dequeued to no computing, and a dependency that serves eight at once, for 20 ms each.
pub(crate) const DEPENDENCY: Service =
    Service { workers: 2, rounds: 1, cpu: 0.0001, away: 0.020, slots: 8 };

impl Service {
    pub(crate) fn capacity(&self) -> f64 {
        let rounds = f64::from(self.rounds);
        let workers = self.workers as f64 / (rounds * self.cpu);
        workers.min(self.slots as f64 / (rounds * self.away.max(1e-9)))
    }
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Happens {
    Arrives,
    Leaves(Station, usize),
    GivesUp(usize),
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Station {
    Worker,
    Away,
}

#[derive(Clone, Copy, Default)]
struct Request {
    stage: Stage,
    admitted: f64,
    since: f64,
    run_queue: f64,
    busy: f64,
    rounds: u32,
    in_flight: usize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Stage {
    #[default]
    Arriving,
    Waiting(Ticket),
    Inside,
    Over,
}

pub(crate) struct World {
    pub(crate) service: Service,
    /// How long a caller waits for an answer, in seconds.
    pub(crate) patience: f64,
    pub(crate) controller: Controller,
    now: f64,
    serial: u64,
    agenda: BinaryHeap<(Reverse<u64>, Reverse<u64>, usize)>,
    happenings: Vec<Happens>,
    requests: Vec<Request>,
    run_queue: VecDeque<usize>,
    running: usize,
    line: VecDeque<usize>,
    served: usize,
    in_flight: usize,
    random: u64,
    pub(crate) finished: usize,
    pub(crate) shed: usize,
    waiting: HashMap<Ticket, usize>,
}

impl World {
    pub(crate) fn new(service: Service) -> Self {
        let limit = Adaptive::new(service.workers);
        Self {
            service,
            patience: f64::INFINITY,
            controller: Controller::new(Box::new(limit), QueueBounds::default()),
            now: 0.0,
            serial: 0,
            agenda: BinaryHeap::new(),
            happenings: Vec::new(),
            requests: Vec::new(),
            run_queue: VecDeque::new(),
            running: 0,
            line: VecDeque::new(),
            served: 0,
            in_flight: 0,
            random: 0x2545_F491_4F6C_DD1D,
            finished: 0,
            shed: 0,
            waiting: HashMap::new(),
        }
    }

    /// Runs `seconds` of Poisson arrivals at `load` times the capacity.
    pub(crate) fn run(&mut self, load: f64, seconds: f64) -> &mut Self {
        (self.finished, self.shed) = (0, 0);
        let end = self.now + seconds;
        let gap = 1.0 / (load * self.service.capacity());
        self.at(self.now, Happens::Arrives);
        while let Some(&(Reverse(nanos), _, index)) = self.agenda.peek() {
            let when = nanos as f64 / 1e9;
            if when > end {
                break;
            }
            self.agenda.pop();
            self.now = when;
            match self.happenings[index] {
                Happens::Arrives => {
                    let next = self.now + gap * self.exponential();
                    self.at(next, Happens::Arrives);
                    self.arrive();
                }
                Happens::Leaves(Station::Worker, request) => self.leaves_worker(request),
                Happens::Leaves(Station::Away, request) => self.comes_back(request),
                Happens::GivesUp(request) => self.gives_up(request),
            }
        }
        let pending = std::mem::take(&mut self.agenda);
        let arrivals = |index: usize| matches!(self.happenings[index], Happens::Arrives);
        self.agenda = pending.into_iter().filter(|&(_, _, index)| !arrivals(index)).collect();
        self.now = end;
        self
    }

    pub(crate) fn goodput(&self, seconds: f64) -> f64 {
        self.finished as f64 / seconds / self.service.capacity()
    }

    fn arrive(&mut self) {
        let id = self.requests.len();
        self.requests.push(Request { rounds: self.service.rounds, ..Request::default() });
        if self.patience.is_finite() {
            self.at(self.now + self.patience, Happens::GivesUp(id));
        }
        match self.controller.arrive(RequestInfo::default(), self.in_flight, self.clock()) {
            Decision::Run => self.admit(id),
            Decision::Queue(ticket, _) => {
                self.waiting.insert(ticket, id);
                self.requests[id].stage = Stage::Waiting(ticket);
            }
            Decision::Reject(_) => self.turn_away(id),
        }
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(next) = self.controller.next(self.in_flight, self.clock()) {
            match next {
                Dequeued::Run(ticket) => {
                    let id = self.waiting.remove(&ticket).expect("it waits");
                    self.admit(id);
                }
                Dequeued::Reject(ticket, _) => {
                    let id = self.waiting.remove(&ticket).expect("it waits");
                    self.turn_away(id);
                }
            }
        }
    }

    fn turn_away(&mut self, id: usize) {
        self.requests[id].stage = Stage::Over;
        self.shed += 1;
    }

    fn admit(&mut self, id: usize) {
        self.in_flight += 1;
        let request = &mut self.requests[id];
        request.stage = Stage::Inside;
        request.admitted = self.now;
        request.in_flight = self.in_flight;
        self.wakes(id);
    }

    fn gives_up(&mut self, id: usize) {
        match std::mem::replace(&mut self.requests[id].stage, Stage::Over) {
            Stage::Waiting(ticket) => {
                self.waiting.remove(&ticket);
                assert!(self.controller.abandon(ticket, self.clock()));
            }
            Stage::Inside => self.departs(id, Outcome::Cancelled),
            Stage::Arriving | Stage::Over => {}
        }
        self.settle();
    }

    fn wakes(&mut self, id: usize) {
        self.requests[id].since = self.now;
        self.run_queue.push_back(id);
        self.dispatch();
    }

    fn dispatch(&mut self) {
        while self.running < self.service.workers {
            let Some(id) = self.run_queue.pop_front() else { return };
            if self.requests[id].stage == Stage::Over {
                continue;
            }
            self.running += 1;
            let request = &mut self.requests[id];
            request.run_queue += self.now - request.since;
            request.busy += self.service.cpu;
            self.at(self.now + self.service.cpu, Happens::Leaves(Station::Worker, id));
        }
    }

    fn leaves_worker(&mut self, id: usize) {
        self.running -= 1;
        self.line.push_back(id);
        self.serve_line();
        self.dispatch();
    }

    fn serve_line(&mut self) {
        while self.served < self.service.slots {
            let Some(id) = self.line.pop_front() else { return };
            self.served += 1;
            self.at(self.now + self.service.away, Happens::Leaves(Station::Away, id));
        }
    }

    fn comes_back(&mut self, id: usize) {
        self.served -= 1;
        self.serve_line();
        self.requests[id].rounds -= 1;
        match self.requests[id] {
            Request { stage: Stage::Over, .. } => {}
            Request { rounds: 0, .. } => self.finish(id),
            _ => self.wakes(id),
        }
    }

    fn finish(&mut self, id: usize) {
        self.requests[id].stage = Stage::Over;
        self.finished += 1;
        self.departs(id, Outcome::Success);
        self.settle();
    }

    fn departs(&mut self, id: usize, outcome: Outcome) {
        let request = self.requests[id];
        let sample = Sample::new(Duration::from_secs_f64(self.now - request.admitted), outcome)
            .run_queue(Duration::from_secs_f64(request.run_queue))
            .busy(Duration::from_secs_f64(request.busy))
            .in_flight(request.in_flight)
            .in_flight_at_end(self.in_flight);
        self.in_flight -= 1;
        self.controller.complete(&sample, self.clock());
    }

    fn at(&mut self, when: f64, happens: Happens) {
        self.serial += 1;
        self.happenings.push(happens);
        let nanos = (when * 1e9).round() as u64;
        self.agenda.push((Reverse(nanos), Reverse(self.serial), self.happenings.len() - 1));
    }

    fn clock(&self) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs_f64(self.now)
    }

    fn exponential(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        -(((self.random >> 11) as f64 + 0.5) / (1u64 << 53) as f64).ln()
    }
}
