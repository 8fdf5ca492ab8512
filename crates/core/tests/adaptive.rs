//! Where the adaptive limit settles, in a small exact simulation.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use backpressure_core::{
    Adaptive, Arrival, Limit, Machine, Next, Outcome, QueueBounds, Sample, Ticket, Timestamp,
    Verdict,
};

/// A service: so many workers; a request takes `rounds` turns of `cpu` on a worker, each followed
/// by `away` somewhere else, where at most `slots` are served at once.
#[derive(Clone, Copy)]
struct Service {
    workers: usize,
    rounds: u32,
    cpu: f64,
    away: f64,
    slots: usize,
}

/// Nothing but computing: the knee is one request a worker.
const CPU: Service = Service { workers: 1, rounds: 1, cpu: 0.005, away: 0.0, slots: usize::MAX };
/// Four turns of 1 ms, each followed by 10 ms elsewhere: the knee is 11 requests a worker.
const MIX: Service = Service { workers: 1, rounds: 4, cpu: 0.001, away: 0.010, slots: usize::MAX };
/// Next to no computing, and a dependency that serves eight at once, for 20 ms each.
const DEPENDENCY: Service = Service { workers: 2, rounds: 1, cpu: 0.0001, away: 0.020, slots: 8 };

impl Service {
    fn capacity(&self) -> f64 {
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

struct World {
    service: Service,
    /// How long a caller waits for an answer, in seconds.
    patience: f64,
    machine: Machine,
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
    finished: usize,
    shed: usize,
    waiting: HashMap<Ticket, usize>,
}

impl World {
    fn new(service: Service) -> Self {
        let limit = Adaptive::new(service.workers);
        Self {
            service,
            patience: f64::INFINITY,
            machine: Machine::new(Box::new(limit), QueueBounds::default()),
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
    fn run(&mut self, load: f64, seconds: f64) -> &mut Self {
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

    fn goodput(&self, seconds: f64) -> f64 {
        self.finished as f64 / seconds / self.service.capacity()
    }

    fn arrive(&mut self) {
        let id = self.requests.len();
        self.requests.push(Request { rounds: self.service.rounds, ..Request::default() });
        if self.patience.is_finite() {
            self.at(self.now + self.patience, Happens::GivesUp(id));
        }
        match self.machine.arrive(Arrival::default(), self.in_flight, self.clock()) {
            Verdict::Run => self.admit(id),
            Verdict::Wait(ticket, _) => {
                self.waiting.insert(ticket, id);
                self.requests[id].stage = Stage::Waiting(ticket);
            }
            Verdict::Shed(_) => self.turn_away(id),
        }
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(next) = self.machine.next(self.in_flight, self.clock()) {
            match next {
                Next::Run(ticket) => {
                    let id = self.waiting.remove(&ticket).expect("it waits");
                    self.admit(id);
                }
                Next::Shed(ticket, _) => {
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
                assert!(self.machine.abandon(ticket));
            }
            Stage::Inside => self.in_flight -= 1,
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
        let request = self.requests[id];
        self.requests[id].stage = Stage::Over;
        self.finished += 1;
        self.in_flight -= 1;
        let sample = Sample {
            run_queue: Duration::from_secs_f64(request.run_queue),
            busy: Duration::from_secs_f64(request.busy),
            in_flight: request.in_flight,
            ..Sample::new(Duration::from_secs_f64(self.now - request.admitted), Outcome::Success)
        };
        self.machine.depart(&sample, self.clock());
        self.settle();
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

#[test]
fn a_service_that_only_computes_runs_two_at_once() {
    // What two places can do of a fixed service time: one works, one waits, none is read ahead.
    for (load, possible) in [(2.0, 0.93), (5.0, 0.99), (10.0, 0.99), (50.0, 0.99)] {
        let mut world = World::new(CPU);
        world.run(load, 2.0).run(load, 20.0);
        assert!(world.machine.limit() <= 2, "{load}×: limit {}", world.machine.limit());
        assert!(world.goodput(20.0) > possible, "{load}×: goodput {}", world.goodput(20.0));
    }
}

#[test]
fn a_service_that_waits_settles_near_its_knee() {
    for load in [2.0, 5.0, 10.0, 50.0] {
        let mut world = World::new(MIX);
        world.run(load, 2.0).run(load, 20.0);
        let limit = world.machine.limit();
        assert!((11..=17).contains(&limit), "{load}×: limit {limit}");
        assert!(world.goodput(20.0) > 0.97, "{load}×: goodput {}", world.goodput(20.0));
    }
}

#[test]
fn nobody_is_turned_away_at_nine_tenths_of_the_capacity() {
    for service in [CPU, MIX, DEPENDENCY] {
        let mut world = World::new(service);
        world.run(0.9, 2_000.0);
        assert_eq!(world.shed, 0, "of {}", world.finished);
    }
}

#[test]
fn nobody_is_turned_away_at_low_rates() {
    for service in [CPU, MIX] {
        for rate in [0.1, 1.0, 20.0] {
            let mut world = World::new(service);
            world.run(rate / service.capacity(), 5_000.0 / rate);
            assert_eq!(world.shed, 0, "{rate} a second");
        }
    }
}

#[test]
fn a_hidden_bottleneck_does_not_make_the_limit_run_away() {
    let mut world = World::new(DEPENDENCY);
    world.run(5.0, 300.0);
    let limit = world.machine.limit();
    assert!(limit <= 256, "limit {limit} for eight slots");
    assert!(world.goodput(300.0) > 0.95, "goodput {}", world.goodput(300.0));
}

#[test]
fn a_storm_out_of_the_blue_is_over_within_a_second() {
    let mut world = World::new(MIX);
    world.run(0.5, 10.0).run(10.0, 1.0).run(10.0, 2.0);
    assert!(world.goodput(2.0) > 0.97, "goodput {}", world.goodput(2.0));
    assert!(world.machine.queued() <= 2, "{} still wait", world.machine.queued());
    world.run(0.5, 1.0).run(0.5, 10.0);
    assert_eq!(world.shed, 0, "nobody is turned away once it is over");
}

#[test]
fn callers_who_give_up_soon_do_not_keep_the_queue_from_being_seen() {
    for service in [CPU, MIX] {
        for patience in [0.1, 0.2, 0.5, 1.0] {
            for load in [1.5, 2.0, 2.2, 3.0, 10.0] {
                let mut world = World::new(service);
                world.patience = patience;
                world.run(0.5, 0.1).run(load, 1.0).run(load, 10.0);
                let goodput = world.goodput(10.0);
                assert!(goodput > 0.85, "{patience} s, {load}×: goodput {goodput}");
            }
        }
    }
}

#[test]
fn a_wide_pool_is_opened_when_it_is_needed() {
    let service = Service { slots: 500, away: 0.050, ..DEPENDENCY };
    let mut world = World::new(service);
    world.run(0.9, 10.0).run(0.9, 20.0);
    assert_eq!(world.shed, 0, "limit {}", world.machine.limit());
    assert!(world.machine.limit() >= 450, "limit {}", world.machine.limit());
}

#[test]
fn what_costs_no_more_than_a_refusal_is_not_refused_and_does_not_yield() {
    let mut limit = Adaptive::new(1);
    let start = limit.limit();
    let mut now = Timestamp::ZERO;
    for _ in 0..1_000 {
        now = now + Duration::from_micros(10);
        let sample = Sample {
            run_queue: Duration::from_micros(900),
            busy: Duration::from_micros(5),
            in_flight: limit.limit(),
            ..Sample::new(Duration::from_micros(905), Outcome::Success)
        };
        limit.observe(&sample, now);
    }
    assert!(limit.limit() >= start, "limit {}", limit.limit());
    assert!(!limit.yields());
}

#[test]
fn absurd_samples_do_not_break_the_limit() {
    let mut limit = Adaptive::new(2);
    let spans = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), Duration::MAX];
    let mut now = Timestamp::ZERO;
    for round in 0..2_000 {
        for (n, &span) in spans.iter().enumerate() {
            let sample = Sample {
                run_queue: spans[(n + round) % 4],
                busy: spans[(n + round / 4) % 4],
                in_flight: [0, 1, usize::MAX][round % 3],
                weight: [0, 1, u32::MAX][n % 3],
                ..Sample::new(span, [Outcome::Success, Outcome::Overload][round % 2])
            };
            limit.observe(&sample, now);
            now = now + Duration::from_millis(1);
            assert!((1..=1_000_000).contains(&limit.limit()), "limit {}", limit.limit());
        }
    }
}
