//! A service with a fixed service time behind a controller, in virtual time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use backpressure_core::{
    Controller, Decision, Dequeued, Limit, Outcome, Priority, QueueBounds, Reason, RequestInfo,
    Sample, Ticket, Timestamp,
};

/// What has happened to a request so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    Queued,
    Running { since: Timestamp, in_flight: usize },
    Served,
    Rejected(Reason),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) priority: Priority,
    pub(crate) arrived: Timestamp,
    /// When the request was admitted or rejected.
    pub(crate) decided: Timestamp,
    pub(crate) state: State,
}

/// A service behind a controller.
pub(crate) struct Service {
    pub(crate) controller: Controller,
    /// Requests worked on at once; other admitted requests wait for a worker in order of admission.
    workers: usize,
    time: Duration,
    requests: Vec<Request>,
    queued: HashMap<Ticket, (usize, Timestamp)>,
    admitted: VecDeque<usize>,
    busy: Vec<(Timestamp, usize)>,
    in_flight: usize,
    now: Timestamp,
}

impl Service {
    pub(crate) fn new(
        limit: impl Limit + 'static,
        bounds: QueueBounds,
        workers: usize,
        time: Duration,
    ) -> Self {
        Self {
            controller: Controller::new(Box::new(limit), bounds),
            workers,
            time,
            requests: Vec::new(),
            queued: HashMap::new(),
            admitted: VecDeque::new(),
            busy: Vec::new(),
            in_flight: 0,
            now: Timestamp::ZERO,
        }
    }
    /// Plays arrivals, which are sorted by time, and everything that follows from them.
    pub(crate) fn play(mut self, arrivals: &[(Timestamp, Priority)]) -> Vec<Request> {
        for &(at, priority) in arrivals {
            self.advance_to(at);
            self.now = at;
            self.arrive(priority);
        }
        self.advance_to(self.now + Duration::from_secs(10));
        self.requests
    }
    fn advance_to(&mut self, end: Timestamp) {
        loop {
            let done = self.busy.iter().map(|&(at, _)| at).min();
            let expires = self.queued.values().map(|&(_, until)| until).min();
            let Some(at) = done.into_iter().chain(expires).min().filter(|&at| at <= end) else {
                return;
            };
            self.now = self.now.max(at);
            if done == Some(at) {
                let index = self.busy.iter().position(|&(when, _)| when == at).expect("just seen");
                let (_, id) = self.busy.swap_remove(index);
                self.complete(id);
            } else {
                let ticket = self.queued.iter().find(|(_, (_, until))| *until == at);
                let (&ticket, &(id, _)) = ticket.expect("just seen");
                self.queued.remove(&ticket);
                let shed = self.controller.expire(ticket, self.now).expect("a queued request");
                self.decide(id, State::Rejected(shed.reason));
            }
            self.settle();
        }
    }
    fn arrive(&mut self, priority: Priority) {
        let id = self.requests.len();
        let (arrived, decided) = (self.now, self.now);
        self.requests.push(Request { priority, arrived, decided, state: State::Queued });
        let info = RequestInfo::default().priority(priority);
        match self.controller.arrive(info, self.in_flight, self.now) {
            Decision::Run => self.run(id),
            Decision::Queue(ticket, until) => _ = self.queued.insert(ticket, (id, until)),
            Decision::Reject(shed) => self.decide(id, State::Rejected(shed.reason)),
        }
        self.settle();
    }
    fn run(&mut self, id: usize) {
        self.in_flight += 1;
        self.decide(id, State::Running { since: self.now, in_flight: self.in_flight });
        self.admitted.push_back(id);
        self.work();
    }
    fn work(&mut self) {
        while self.busy.len() < self.workers {
            let Some(id) = self.admitted.pop_front() else { return };
            self.busy.push((self.now + self.time, id));
        }
    }
    fn complete(&mut self, id: usize) {
        let State::Running { since, in_flight } = self.requests[id].state else {
            panic!("only a running request completes");
        };
        let latency = self.now.since(since);
        let (run_queue, busy) = (latency - self.time, self.time);
        let sample = Sample::new(latency, Outcome::Success)
            .run_queue(run_queue)
            .busy(busy)
            .in_flight(in_flight);
        self.controller.complete(&sample, self.now);
        self.in_flight -= 1;
        self.requests[id].state = State::Served;
        self.work();
    }
    fn settle(&mut self) {
        while let Some(next) = self.controller.next(self.in_flight, self.now) {
            match next {
                Dequeued::Run(ticket) => {
                    let (id, _) = self.queued.remove(&ticket).expect("a queued request");
                    self.run(id);
                }
                Dequeued::Reject(ticket, shed) => {
                    let (id, _) = self.queued.remove(&ticket).expect("a queued request");
                    self.decide(id, State::Rejected(shed.reason));
                }
            }
        }
    }
    fn decide(&mut self, id: usize, state: State) {
        self.requests[id].decided = self.now;
        self.requests[id].state = state;
    }
}
