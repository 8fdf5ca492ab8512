//! Who comes next.

use fastrand::Rng;

use crate::course::Course;
use crate::law::unit;
use crate::scenario::stream::{Process, Stream, Tenants};

use super::World;
use super::agenda::Event;
use super::callers::{Fleets, Request};
use super::clock::{fraction, mix, nanos, seconds};
use super::journal::Asked;
use super::slab::Id;

/// A stream at work.
#[derive(Debug)]
pub(super) struct Source {
    rng: Rng,
    /// What the keys of its requests are made of.
    key: u64,
    /// Requests so far.
    count: u64,
    rate: Course,
    /// The last arrival, in seconds.
    last: f64,
    pub(super) fleets: Fleets,
}

// What the parts of a request are drawn with.
const TENANT: u64 = 1;
const USER: u64 = 2;
const THINK: u64 = 3;

impl World<'_> {
    pub(super) fn open_sources(&mut self) {
        for index in 0..self.plan.streams.len() {
            let plan = &self.plan.streams[index];
            let key = mix(self.seed, index as u64 + 1);
            let mut rng = Rng::with_seed(key);
            let rate = modulated(&plan.rate, plan.stream.process, self.plan.seconds, &mut rng);
            let fleets = Fleets::of(&plan.stream);
            self.sources.push(Source { rng, key, count: 0, rate, last: 0.0, fleets });
            self.open_source(index as u32);
        }
    }

    fn open_source(&mut self, index: u32) {
        let stream = &self.plan.streams[index as usize].stream;
        if let Some(burst) = stream.burst {
            self.agenda.push(nanos(burst.first), Event::Arrives(index));
        } else if let Some(closed) = stream.closed {
            let key = self.sources[index as usize].key;
            for client in 0..u64::from(closed.clients) {
                let pause = closed.think.prepare().of(mix(mix(key, THINK), client));
                self.agenda.push(nanos(pause), Event::Arrives(index));
            }
        } else {
            self.next_arrival(index);
        }
    }

    fn next_arrival(&mut self, index: u32) {
        let even = matches!(self.plan.streams[index as usize].stream.process, Process::Even);
        let source = &mut self.sources[index as usize];
        let amount = if even { 1.0 } else { unit(&mut source.rng) };
        if let Some(at) = source.rate.reach(source.last, amount) {
            source.last = at;
            self.agenda.push(nanos(at), Event::Arrives(index));
        }
    }

    pub(super) fn arrives(&mut self, index: u32) {
        let stream = &self.plan.streams[index as usize].stream;
        let size = stream.burst.map_or(1, |burst| burst.size);
        if let Some(every) = stream.burst.and_then(|burst| burst.every) {
            self.agenda.push(self.now + nanos(every), Event::Arrives(index));
        } else if stream.burst.is_none() && stream.closed.is_none() {
            self.next_arrival(index);
        }
        for _ in 0..size {
            let request = self.asks(index);
            self.sends(request);
        }
    }

    /// A new request, with everything that is its own.
    fn asks(&mut self, index: u32) -> Id {
        let stream = &self.plan.streams[index as usize].stream;
        let source = &mut self.sources[index as usize];
        source.count += 1;
        let key = mix(source.key, source.count);
        let tenant = tenant(stream.tenants, fraction(mix(key, TENANT)));
        let alone = self.alone(key, stream.demand);
        let number = self.journal.asked.len() as u32;
        self.journal.asked.push(Asked {
            at: self.now,
            alone: nanos(alone.latency),
            work: alone.work,
            stream: index,
            tenant,
        });
        let ends = stream.deadline.map_or(u64::MAX, |deadline| self.now + nanos(deadline));
        let user = user(stream, tenant, mix(key, USER), self.now);
        self.requests.insert(Request::new(number, index, key, tenant, user, ends))
    }

    /// A client of a closed loop has its answer, or none.
    pub(super) fn thinks(&mut self, index: u32, key: u64) {
        if let Some(closed) = self.plan.streams[index as usize].stream.closed {
            let pause = closed.think.prepare().of(mix(key, THINK));
            self.agenda.push(self.now + nanos(pause), Event::Arrives(index));
        }
    }
}

/// The rate with the jumps of its process.
fn modulated(rate: &Course, process: Process, seconds: f64, rng: &mut Rng) -> Course {
    match process {
        Process::Poisson | Process::Even => rate.clone(),
        Process::Mmpp { low, high, low_for, high_for } => {
            let mut steps = Vec::new();
            let mut at = low_for * unit(rng);
            while at < seconds {
                steps.push((at, high));
                at += high_for * unit(rng);
                steps.push((at, low));
                at += low_for * unit(rng);
            }
            rate.times(&Course::steps(low, &steps))
        }
        Process::Square { period, low, high } => {
            let halves = (2.0 * seconds / period).ceil() as u32;
            let value = |n: u32| if n.is_multiple_of(2) { high } else { low };
            let steps: Vec<_> =
                (1..halves).map(|n| (f64::from(n) * 0.5 * period, value(n))).collect();
            rate.times(&Course::steps(high, &steps))
        }
    }
}

fn tenant(tenants: Tenants, draw: f64) -> u32 {
    if tenants.count == 1 {
        return tenants.first;
    }
    if tenants.zipf == 0.0 {
        return tenants.first + (draw * f64::from(tenants.count)) as u32;
    }
    let share = |n: u32| f64::from(n).powf(-tenants.zipf);
    let total: f64 = (1..=tenants.count).map(share).sum();
    let mut left = draw * total;
    for n in 1..tenants.count {
        left -= share(n);
        if left < 0.0 {
            return tenants.first + n - 1;
        }
    }
    tenants.first + tenants.count - 1
}

/// One of the tenant's users; who has lived out a life is replaced by somebody new.
fn user(stream: &Stream, tenant: u32, bits: u64, now: u64) -> u32 {
    let user = (fraction(bits) * f64::from(stream.users)) as u32;
    let lives = stream.user_life.map_or(0.0, |life| {
        // Lives end one after the other, not all at once.
        (seconds(now) / life + f64::from(user) / f64::from(stream.users)).floor()
    });
    mix(mix(u64::from(user), u64::from(tenant)), lives as u64) as u32
}
