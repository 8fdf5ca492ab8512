//! The chart of tenants that share a limit: the core's controller before sixteen workers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use backpressure_core::{
    Controller, Decision, Dequeued, Fixed, Hold, Outcome, QueueBounds, RequestInfo, Sample, Ticket,
    Timestamp,
};
use fastrand::Rng;

use super::figure::{Class, Figure, Line};
use super::scale::Scale;
use super::server::{BIN, binned};

const WORKERS: usize = 16;
/// Mean time of a request, which scatters exponentially.
const SERVICE: Duration = Duration::from_millis(40);
/// What the workers can do in a second.
const CAPACITY: f64 = WORKERS as f64 / 0.04;
const SECONDS: f64 = 30.0;
/// Tenants that each ask for a tenth of the capacity, and one more that asks for all of it.
const QUIET: u64 = 9;
const NOISY: u64 = QUIET;

/// The requests under way at the workers.
struct Workers {
    controller: Controller,
    /// When each ends, its number, whose it is, and what it holds.
    running: BinaryHeap<Reverse<(Timestamp, u64, u64)>>,
    holds: Vec<(u64, Hold)>,
    /// Whose requests are queued, and until when at most.
    queued: BTreeMap<Ticket, (u64, Timestamp)>,
    started: u64,
    rng: Rng,
}

/// When each request of the quiet tenants was served, where the controller is told the tenants and where it is not.
fn served(is_told: bool) -> Vec<f64> {
    let limit = Box::new(Fixed::new(WORKERS));
    let mut workers = Workers {
        controller: Controller::new(limit, QueueBounds::default()),
        running: BinaryHeap::new(),
        holds: Vec::new(),
        queued: BTreeMap::new(),
        started: 0,
        rng: Rng::with_seed(1),
    };
    let (mut served, mut seconds) = (Vec::new(), 0.0);
    while seconds < SECONDS {
        // 1.9 times the capacity arrives: 0.9 from the quiet tenants together, 1 from the noisy one.
        seconds += workers.exponential() / (1.9 * CAPACITY);
        let now = Timestamp::ZERO + Duration::from_secs_f64(seconds);
        workers.end_until(now, &mut served);
        let tenant = if workers.rng.f64() < 0.9 / 1.9 { workers.rng.u64(..QUIET) } else { NOISY };
        let info = RequestInfo::default();
        workers.arrive(tenant, if is_told { info.tenant(tenant) } else { info }, now);
    }
    served
}

impl Workers {
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.rng.f64()).ln()
    }

    fn arrive(&mut self, tenant: u64, info: RequestInfo, now: Timestamp) {
        match self.controller.arrive(info, self.running.len(), now) {
            Decision::Run => self.start(tenant, now),
            Decision::Queue(ticket, until) => {
                self.queued.insert(ticket, (tenant, until));
            }
            Decision::Reject(_) => {}
        }
        self.settle(now);
    }

    fn start(&mut self, tenant: u64, now: Timestamp) {
        let service = SERVICE.mul_f64(self.exponential());
        self.started += 1;
        self.holds.push((self.started, self.controller.hold()));
        self.running.push(Reverse((now + service, self.started, tenant)));
    }

    fn settle(&mut self, now: Timestamp) {
        let due =
            |(&ticket, &(_, until)): (&Ticket, &(u64, Timestamp))| (until <= now).then_some(ticket);
        let expired: Vec<Ticket> = self.queued.iter().filter_map(due).collect();
        for ticket in expired {
            let _ = self.controller.expire(ticket, now);
            self.queued.remove(&ticket);
        }
        while let Some(next) = self.controller.next(self.running.len(), now) {
            let (Dequeued::Run(ticket) | Dequeued::Reject(ticket, _)) = next;
            let queued = self.queued.remove(&ticket);
            if let (Dequeued::Run(_), Some((tenant, _))) = (next, queued) {
                self.start(tenant, now);
            }
        }
    }

    fn end_until(&mut self, now: Timestamp, served: &mut Vec<f64>) {
        while let Some(&Reverse((ends, number, tenant))) = self.running.peek() {
            if ends > now {
                return;
            }
            let sample = Sample::new(SERVICE, Outcome::Success).in_flight(self.running.len());
            self.controller.complete(&sample, ends);
            self.running.pop();
            let held = self.holds.iter().position(|hold| hold.0 == number);
            let (_, hold) = self.holds.swap_remove(held.expect("a request that runs has a hold"));
            self.controller.release(hold, ends);
            self.settle(ends);
            if tenant < QUIET {
                served.push(ends.since(Timestamp::ZERO).as_secs_f64());
            }
        }
    }
}

pub(super) fn tenants() -> Result<Figure, String> {
    let line = |name, class, is_told| {
        let share = |count: f64| count / BIN / CAPACITY / QUIET as f64;
        let counts = binned(served(is_told).into_iter(), SECONDS).into_iter();
        Line { name, class, points: counts.map(|(at, count)| (at, share(count))).collect() }
    };
    let asked = vec![(0.0, 0.1), (SECONDS, 0.1)];
    Ok(Figure {
        says: "Ten tenants, of which one asks for ten times its share. Where the limiter is told the tenants, the nine others get nearly all that they ask for; without, half of it.".into(),
        y_name: "served to a quiet tenant, over the capacity",
        seconds: SECONDS,
        y: Scale::Linear(0.0, 0.14),
        bands: vec![],
        lines: vec![
            line("tenants named", Class::First, true),
            line("not named", Class::Second, false),
            Line { name: "what each asks for", class: Class::Reference, points: asked },
        ],
    })
}
