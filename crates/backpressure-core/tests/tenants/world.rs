//! A service with a limit, simulated in virtual time: tenants send requests, and permits are held for the time
//! that each takes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use backpressure_core::{
    Controller, Decision, Dequeued, Fixed, Hold, Outcome, QueueBounds, Reason, RequestInfo, Sample,
    Ticket, Timestamp,
};
use fastrand::Rng;

/// Requests that one tenant sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) tenant: u64,
    /// A new name for each request.
    pub(crate) is_minted: bool,
    pub(crate) weight: u16,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Time between two requests: equal, with a tenth of jitter, or exponential.
    pub(crate) is_paced: bool,
    /// How long a permit is held; exponential unless paced.
    pub(crate) service: Duration,
    pub(crate) cost: u32,
}

impl Load {
    pub(crate) fn paced(tenant: u64, rate: f64, service: Duration) -> Self {
        Self { tenant, is_minted: false, weight: 1, rate, is_paced: true, service, cost: 1 }
    }

    pub(crate) fn random(tenant: u64, rate: f64, service: Duration) -> Self {
        Self { is_paced: false, ..Self::paced(tenant, rate, service) }
    }
}

/// What became of the requests of one load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) sent: u32,
    pub(crate) served: u32,
    /// Permit-time by second of the end.
    pub(crate) work: BTreeMap<u64, f64>,
    /// From arrival to the end, in seconds.
    pub(crate) times: Vec<f64>,
    pub(crate) rejected: HashMap<Reason, u32>,
}

impl Outcomes {
    /// Permit-time in `from..to`, in seconds.
    pub(crate) fn work_in(&self, from: u64, to: u64) -> f64 {
        self.work.range(from..to).map(|(_, work)| work).sum()
    }

    pub(crate) fn p99(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times.get((times.len().max(1) - 1) * 99 / 100).copied().unwrap_or_default()
    }
}

/// Jain's index of fairness: 1 is equal.
pub(crate) fn jain(shares: impl IntoIterator<Item = f64>) -> f64 {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for share in shares {
        count += 1.0;
        sum += share;
        squares += share * share;
    }
    if squares > 0.0 { sum * sum / (count * squares) } else { 1.0 }
}

#[derive(Clone, Copy, Debug)]
struct Request {
    load: usize,
    arrived: Timestamp,
    service: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    End(usize),
    Expire(Ticket),
    Arrive(usize),
}

pub(crate) struct World {
    pub(crate) controller: Controller,
    loads: Vec<Load>,
    pub(crate) outcomes: Vec<Outcomes>,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    numbered: u64,
    rng: Rng,
    pub(crate) in_flight: usize,
    pub(crate) most_in_flight: usize,
    queued: HashMap<Ticket, Request>,
    running: HashMap<usize, (Request, Hold)>,
    /// Time in which a permit was free while a request was queued.
    pub(crate) idle_with_queue: Duration,
    measured_from: Timestamp,
    minted: u64,
}

impl World {
    pub(crate) fn new(limit: usize, queue: QueueBounds, loads: Vec<Load>, seed: u64) -> Self {
        let mut world = Self {
            controller: Controller::new(Box::new(Fixed::new(limit)), queue),
            outcomes: vec![Outcomes::default(); loads.len()],
            events: BinaryHeap::new(),
            numbered: 0,
            rng: Rng::with_seed(seed),
            in_flight: 0,
            most_in_flight: 0,
            queued: HashMap::new(),
            running: HashMap::new(),
            idle_with_queue: Duration::ZERO,
            measured_from: Timestamp::ZERO,
            minted: 1 << 40,
            loads,
        };
        for load in 0..world.loads.len() {
            let first = world.rng.f64() / world.loads[load].rate;
            world.at(Timestamp::ZERO + Duration::from_secs_f64(first), Event::Arrive(load));
        }
        world
    }

    /// Runs until `secs`, and counts what arrives from second `from` on.
    pub(crate) fn run(&mut self, from: u64, secs: u64) {
        self.measured_from = Timestamp::ZERO + Duration::from_secs(from);
        let end = Timestamp::ZERO + Duration::from_secs(secs);
        let mut before = Timestamp::ZERO;
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            if now > end {
                break;
            }
            if !self.queued.is_empty() && self.in_flight < self.controller.limit() {
                self.idle_with_queue += now.since(before);
            }
            before = now;
            match event {
                Event::Arrive(load) => self.arrive(load, now),
                Event::End(number) => self.end(number, now),
                Event::Expire(ticket) => self.expire(ticket, now),
            }
            self.settle(now);
        }
    }

    fn at(&mut self, when: Timestamp, event: Event) {
        self.numbered += 1;
        self.events.push(Reverse((when, self.numbered, event)));
    }

    fn arrive(&mut self, number: usize, now: Timestamp) {
        let load = self.loads[number];
        let exponential = -(1.0 - self.rng.f64()).ln();
        let gap = if load.is_paced { 0.95 + 0.1 * self.rng.f64() } else { exponential };
        self.at(now + Duration::from_secs_f64(gap / load.rate), Event::Arrive(number));
        let draw = if load.is_paced { 1.0 } else { -(1.0 - self.rng.f64()).ln() };
        let request = Request { load: number, arrived: now, service: load.service.mul_f64(draw) };
        if now >= self.measured_from {
            self.outcomes[number].sent += 1;
        }
        self.minted += 1;
        let tenant = if load.is_minted { self.minted } else { load.tenant };
        let info = RequestInfo::default().tenant(tenant).weight(load.weight).cost(load.cost);
        match self.controller.arrive(info, self.in_flight, now) {
            Decision::Run => self.start(request, now),
            Decision::Queue(ticket, until) => {
                self.queued.insert(ticket, request);
                self.at(until, Event::Expire(ticket));
            }
            Decision::Reject(shed) => self.rejected(request, shed.reason),
        }
    }

    fn start(&mut self, request: Request, now: Timestamp) {
        let hold = self.controller.hold();
        self.in_flight += hold.units();
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        self.numbered += 1;
        let number = self.numbered as usize;
        self.running.insert(number, (request, hold));
        self.at(now + request.service, Event::End(number));
    }

    fn end(&mut self, number: usize, now: Timestamp) {
        let (request, hold) = self.running.remove(&number).expect("it runs");
        let sample = Sample::new(request.service, Outcome::Success)
            .in_flight(self.in_flight)
            .cost(hold.units() as u32);
        self.controller.complete(&sample, now);
        self.in_flight -= hold.units();
        self.controller.release(hold, now);
        let outcomes = &mut self.outcomes[request.load];
        let second = now.since(Timestamp::ZERO).as_secs();
        let work = request.service.as_secs_f64() * hold.units() as f64;
        *outcomes.work.entry(second).or_default() += work;
        if request.arrived >= self.measured_from {
            outcomes.served += 1;
            outcomes.times.push(now.since(request.arrived).as_secs_f64());
        }
    }

    fn expire(&mut self, ticket: Ticket, now: Timestamp) {
        if let Some(shed) = self.controller.expire(ticket, now) {
            let request = self.queued.remove(&ticket).expect("it was queued");
            self.rejected(request, shed.reason);
        }
    }

    fn rejected(&mut self, request: Request, reason: Reason) {
        if request.arrived >= self.measured_from {
            *self.outcomes[request.load].rejected.entry(reason).or_default() += 1;
        }
    }

    fn settle(&mut self, now: Timestamp) {
        while let Some(next) = self.controller.next(self.in_flight, now) {
            match next {
                Dequeued::Run(ticket) => {
                    let request = self.queued.remove(&ticket).expect("it was queued");
                    self.start(request, now);
                }
                Dequeued::Reject(ticket, shed) => {
                    let request = self.queued.remove(&ticket).expect("it was queued");
                    self.rejected(request, shed.reason);
                }
            }
        }
    }
}
