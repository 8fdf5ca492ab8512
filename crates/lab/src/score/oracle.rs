//! The clairvoyant: what could have been done with the same requests.
//!
//! A server that never idles while there is work, keeps a line as long as callers wait, takes
//! whoever can still be answered in time, and pays for each refusal. For a constant load of N times
//! the capacity it does `g* = min(N, (1 − N·r)/(1 − r))` of it, r being the cost of a refusal over
//! the work of a request.

use crate::course::Course;
use crate::scenario::stream::Stream;
use crate::world::journal::Asked;
use crate::world::plan::Plan;

/// How long callers wait who wait for ever: a line has to end somewhere.
const ENDLESS: f64 = 1.0;
const NANO: f64 = 1e-9;

#[derive(Debug)]
pub(super) struct Oracle<'p> {
    plan: &'p Plan,
    capacity: &'p Course,
    at: f64,
    /// Work and refusals not done yet, in seconds of the bottleneck's work.
    work: f64,
    debt: f64,
    served: f64,
}

impl<'p> Oracle<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        Self { plan, capacity: &plan.capacity, at: 0.0, work: 0.0, debt: 0.0, served: 0.0 }
    }

    /// Work done by then.
    pub(super) fn served_by(&mut self, at: f64) -> f64 {
        self.pass(at);
        self.served
    }

    /// A request comes; whether it is taken.
    pub(super) fn ask(&mut self, asked: &Asked) -> bool {
        let at = asked.at as f64 * NANO;
        self.pass(at);
        let wait = patience(&self.plan.streams[asked.stream as usize].stream);
        let latest = at + (wait - asked.alone as f64 * NANO).max(0.0);
        let taken = self.work + self.debt <= self.can_do(at, latest);
        if taken {
            self.work += asked.work;
        } else {
            self.debt += self.plan.refusal;
        }
        taken
    }

    /// Whether the line is shorter than a tenth of what it may be.
    pub(super) fn is_nearly_idle(&mut self, at: f64, stream: u32) -> bool {
        self.pass(at);
        let wait = patience(&self.plan.streams[stream as usize].stream);
        self.work + self.debt < 0.1 * self.can_do(at, at + wait)
    }

    fn can_do(&self, from: f64, to: f64) -> f64 {
        self.capacity.integral(to) - self.capacity.integral(from)
    }

    /// Works until then; refusals and work in the proportion in which they are there.
    fn pass(&mut self, at: f64) {
        let backlog = self.work + self.debt;
        if at > self.at && backlog > 0.0 {
            let part = (self.can_do(self.at, at) / backlog).min(1.0);
            self.served += self.work * part;
            self.work -= self.work * part;
            self.debt -= self.debt * part;
        }
        self.at = self.at.max(at);
    }
}

/// How long a request is worth something, in seconds.
fn patience(stream: &Stream) -> f64 {
    let attempt = stream.patience.unwrap_or(f64::INFINITY);
    let whole = stream.deadline.unwrap_or(f64::INFINITY);
    let retries = f64::from(stream.retry.attempts());
    let longest = (attempt * retries).min(whole);
    if longest.is_finite() { longest } else { ENDLESS.max(attempt.min(ENDLESS)) }
}
