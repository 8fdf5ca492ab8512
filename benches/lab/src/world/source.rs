//! A stream in a run: when its requests arrive, and what belongs to each of them.

use fastrand::Rng;

use crate::distribution::unit;
use crate::piecewise::Piecewise;
use crate::scenario::stream::{Closed, Process, Stream, Tenants};

use super::clock::{fraction, mix, nanos, seconds};
use super::journal::RequestRecord;
use super::plan::{Plan, StreamPlan};
use super::request::RequestSpec;
use super::retries::Fleets;

#[derive(Debug)]
pub(crate) struct Source {
    rng: Rng,
    /// Which of the streams.
    index: u32,
    /// The keys of its requests are made of this.
    key: u64,
    /// Requests so far.
    count: u64,
    rate: Piecewise,
    /// Time of the last arrival, in seconds.
    last: f64,
    pub(crate) fleets: Fleets,
}

// Mixed into the key of a request for its parts.
const TENANT: u64 = 1;
const USER: u64 = 2;
const THINK: u64 = 3;

impl Source {
    pub(crate) fn new(plan: &Plan, index: u32, seed: u64) -> Self {
        let StreamPlan { stream, rate, .. } = &plan.streams[index as usize];
        let key = mix(seed, u64::from(index) + 1);
        let mut rng = Rng::with_seed(key);
        let rate = modulated(rate, stream.process, plan.seconds, &mut rng);
        Self { rng, index, key, count: 0, rate, last: 0.0, fleets: Fleets::of(stream) }
    }

    /// When its first requests arrive.
    pub(crate) fn first(&mut self, stream: &Stream) -> Vec<u64> {
        if let Some(burst) = stream.burst {
            return vec![nanos(burst.first)];
        }
        if let Some(closed) = stream.closed {
            let pause = |client| pause(closed, mix(mix(self.key, THINK), client));
            return (0..u64::from(closed.clients)).map(pause).collect();
        }
        self.next(stream).into_iter().collect()
    }

    /// When the next requests arrive after those of `now`; `None`: they do not follow from the clock.
    pub(crate) fn follow(&mut self, stream: &Stream, now: u64) -> Option<u64> {
        match (stream.burst, stream.closed) {
            (Some(burst), _) => burst.every.map(|every| now + nanos(every)),
            (None, Some(_)) => None,
            (None, None) => self.next(stream),
        }
    }

    fn next(&mut self, stream: &Stream) -> Option<u64> {
        let even = matches!(stream.process, Process::Even);
        let amount = if even { 1.0 } else { unit(&mut self.rng) };
        self.last = self.rate.reach(self.last, amount)?;
        Some(nanos(self.last))
    }

    /// Makes a new request.
    pub(crate) fn new_request(&mut self, plan: &Plan, now: u64) -> (RequestRecord, RequestSpec) {
        let stream = &plan.streams[self.index as usize].stream;
        self.count += 1;
        let key = mix(self.key, self.count);
        let tenant = tenant(stream.tenants, fraction(mix(key, TENANT)));
        let uncontended = plan.uncontended(self.index, key, seconds(now));
        let elsewhere = nanos(uncontended.elsewhere);
        let (uncontended, work) = (nanos(uncontended.latency), uncontended.work);
        let asked =
            RequestRecord { at: now, uncontended, elsewhere, work, stream: self.index, tenant };
        let ends = stream.deadline.map_or(u64::MAX, |deadline| now + nanos(deadline));
        let user = user(stream, tenant, mix(key, USER), now);
        (asked, RequestSpec { stream: self.index, key, user, ends })
    }
}

/// How long a client of a closed loop pauses once this request is over.
pub(crate) fn think_time(stream: &Stream, key: u64) -> Option<u64> {
    stream.closed.map(|closed| pause(closed, mix(key, THINK)))
}

fn pause(closed: Closed, draw: u64) -> u64 {
    nanos(closed.think.prepare().of(draw))
}

/// The rate, modulated by the arrival process.
fn modulated(rate: &Piecewise, process: Process, seconds: f64, rng: &mut Rng) -> Piecewise {
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
            rate.times(&Piecewise::steps(low, &steps))
        }
        Process::Square { period, low, high } => {
            let halves = (2.0 * seconds / period).ceil() as u32;
            let value = |n: u32| if n.is_multiple_of(2) { high } else { low };
            let steps: Vec<_> =
                (1..halves).map(|n| (f64::from(n) * 0.5 * period, value(n))).collect();
            rate.times(&Piecewise::steps(high, &steps))
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

/// Draws one of the users of the tenant. A user whose life is over is replaced by a new one.
fn user(stream: &Stream, tenant: u32, bits: u64, now: u64) -> u32 {
    let user = (fraction(bits) * f64::from(stream.users)) as u32;
    let lives = stream.user_life.map_or(0.0, |life| {
        // Lives end one after the other, not all at once.
        (seconds(now) / life + f64::from(user) / f64::from(stream.users)).floor()
    });
    mix(mix(u64::from(user), u64::from(tenant)), lives as u64) as u32
}
