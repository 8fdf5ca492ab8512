//! What fair shares cost: time of a request and memory with many tenants, beside the same controller without
//! tenants and beside governor's keyed limiter.
//!
//! `-- --count "queued, 1 000"` runs one contender alone, so that a profiler can count instructions.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use backpressure_core::{
    Controller, Decision, Dequeued, Fixed, Hold, Outcome, QueueBounds, RequestInfo, Sample,
    Timestamp,
};
use governor::{DefaultKeyedRateLimiter, RateLimiter};

/// Requests in a round.
const REQUESTS: u64 = 200_000;
const ROUNDS: usize = 15;
/// A prime, so that the steps reach all tenants, and each is far from the last.
const STEP: u64 = 611_953;
const MILLION: u64 = 1_000_000;
const LIMIT: usize = 64;
/// Requests that are queued all the time, where any are.
const QUEUED: usize = 48;
/// Virtual time between two requests: each holds its permit for 64 of these.
const BETWEEN: Duration = Duration::from_micros(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs this too, without the flag.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let count = arguments.iter().position(|it| it == "--count");
    let name = count.map(|at| arguments.get(at + 1).map_or("", |name| name));
    let is_chosen = |it: &&Kind| name.is_none_or(|name| name == it.name);
    let mut contenders: Vec<_> = KINDS.iter().filter(is_chosen).map(Contender::new).collect();
    if contenders.is_empty() {
        let names: Vec<_> = KINDS.iter().map(|it| format!("\"{}\"", it.name)).collect();
        eprintln!("--count needs one of {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let rounds = if name.is_some() { 1 } else { ROUNDS };
    for round in 0..rounds {
        let turn = round % contenders.len();
        contenders[turn..].iter_mut().for_each(Contender::run);
        contenders[..turn].iter_mut().for_each(Contender::run);
    }
    report(&contenders);
    ExitCode::SUCCESS
}

/// One line of the table.
struct Kind {
    name: &'static str,
    /// 0: requests name no tenant.
    tenants: u64,
    load: Load,
    /// The line that it is compared with.
    peer: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// A permit is free for each request.
    Free,
    /// Each request is queued, and none is rejected.
    Queued,
    /// Half of the requests are rejected.
    Overload,
}

const GOVERNOR: &str = "governor, keyed, 1 000 000";
const FREE: &str = "free, no tenants";
const IN_QUEUE: &str = "queued, no tenants";
const OVERLOAD: &str = "overload, no tenants";

const KINDS: [Kind; 10] = [
    Kind { name: GOVERNOR, tenants: MILLION, load: Load::Free, peer: GOVERNOR },
    Kind { name: FREE, tenants: 0, load: Load::Free, peer: FREE },
    Kind { name: "free, 1 000", tenants: 1_000, load: Load::Free, peer: FREE },
    Kind { name: "free, 1 000 000", tenants: MILLION, load: Load::Free, peer: FREE },
    Kind { name: IN_QUEUE, tenants: 0, load: Load::Queued, peer: IN_QUEUE },
    Kind { name: "queued, 1 000", tenants: 1_000, load: Load::Queued, peer: IN_QUEUE },
    Kind { name: "queued, 1 000 000", tenants: MILLION, load: Load::Queued, peer: IN_QUEUE },
    Kind { name: OVERLOAD, tenants: 0, load: Load::Overload, peer: OVERLOAD },
    Kind { name: "overload, 1 000", tenants: 1_000, load: Load::Overload, peer: OVERLOAD },
    Kind { name: "overload, 1 000 000", tenants: MILLION, load: Load::Overload, peer: OVERLOAD },
];

struct Contender {
    kind: &'static Kind,
    request: Box<dyn FnMut(u64)>,
    /// Requests so far.
    sent: u64,
    bytes: u64,
    /// Nanoseconds a request.
    rounds: Vec<f64>,
}

impl Contender {
    /// Meets each tenant twice, so that all are known.
    fn new(kind: &'static Kind) -> Self {
        let before = resident();
        let mut request: Box<dyn FnMut(u64)> = match kind.name {
            GOVERNOR => {
                let quota = governor::Quota::per_second(1_000.try_into().expect("not zero"));
                let governor: DefaultKeyedRateLimiter<u64> = RateLimiter::keyed(quota);
                Box::new(move |key| drop(governor.check_key(&key)))
            }
            _ => {
                let mut service = Service::new(kind.load, kind.tenants > 0);
                Box::new(move |tenant| service.request(tenant))
            }
        };
        let met = 2 * kind.tenants.max(1);
        for number in 0..met {
            request(tenant(number, kind.tenants));
        }
        let bytes = resident().saturating_sub(before) / kind.tenants.max(1);
        Self { kind, request, sent: met, bytes, rounds: Vec::new() }
    }

    fn run(&mut self) {
        let start = tokio::time::Instant::now();
        for number in self.sent..self.sent + REQUESTS {
            (self.request)(tenant(number, self.kind.tenants));
        }
        self.sent += REQUESTS;
        self.rounds.push(start.elapsed().as_secs_f64() * 1e9 / REQUESTS as f64);
    }
}

/// Tenants in an order that no cache can guess, by numbers that are spread as hashes are.
fn tenant(number: u64, tenants: u64) -> u64 {
    let place = number.wrapping_mul(STEP).checked_rem(tenants).unwrap_or(0);
    place.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (place >> 3)
}

/// A controller, and what is in flight: for each request that arrives, or for each second one, the oldest in flight
/// ends.
struct Service {
    controller: Controller,
    in_flight: VecDeque<Hold>,
    now: Timestamp,
    names_tenants: bool,
    load: Load,
    arrived: u64,
}

impl Service {
    fn new(load: Load, names_tenants: bool) -> Self {
        let queue = QueueBounds::new(4 * LIMIT, Duration::from_secs(1));
        let controller = Controller::new(Box::new(Fixed::new(LIMIT)), queue);
        let (in_flight, now) = (VecDeque::new(), Timestamp::ZERO);
        let mut service = Self { controller, in_flight, now, names_tenants, load, arrived: 0 };
        let before = if load == Load::Free { LIMIT - 1 } else { LIMIT + QUEUED };
        (0..before as u64).for_each(|number| service.arrive(tenant(number, 997)));
        service
    }

    fn request(&mut self, tenant: u64) {
        self.now = self.now + BETWEEN;
        self.arrive(tenant);
        self.arrived += 1;
        if self.load != Load::Overload || self.arrived.is_multiple_of(2) {
            self.end();
        }
        while let Some(next) = self.controller.next(self.in_flight.len(), self.now) {
            if let Dequeued::Run(_) = next {
                self.in_flight.push_back(self.controller.hold());
            }
        }
    }

    fn end(&mut self) {
        let ended = self.in_flight.pop_front().expect("some are in flight");
        self.controller.release(ended, self.now);
        let latency = BETWEEN * LIMIT as u32;
        self.controller.complete(&Sample::new(latency, Outcome::Success), self.now);
    }

    fn arrive(&mut self, tenant: u64) {
        let info = RequestInfo::default();
        let info = if self.names_tenants { info.tenant(tenant) } else { info };
        match self.controller.arrive(info, self.in_flight.len(), self.now) {
            Decision::Run => self.in_flight.push_back(self.controller.hold()),
            Decision::Queue(..) => {}
            Decision::Reject(_) => assert!(self.load == Load::Overload, "there is room for all"),
        }
    }
}

fn report(contenders: &[Contender]) {
    println!("The median of {ROUNDS} rounds\n");
    println!("| | ns | more than without tenants | bytes a tenant |\n|---|---|---|---|");
    for Contender { kind, bytes, rounds, .. } in contenders {
        let peer = contenders.iter().find(|it| it.kind.name == kind.peer);
        let pairs = rounds.iter().zip(&peer.map_or(rounds, |it| &it.rounds)[..]);
        let added = median(pairs.map(|(own, peer)| own - peer));
        let nanos = median(rounds.iter().copied());
        println!("| {} | {nanos:.0} | {added:.0} | {bytes} |", kind.name);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}
