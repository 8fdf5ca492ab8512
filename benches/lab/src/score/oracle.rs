//! The clairvoyant: what could have been done with the same requests.
//!
//! It is never idle while there is work, accepts every request that can still be answered in time, serves
//! first the requests with the least patience, and pays for each rejection. For a constant load of N times the
//! capacity it does `g* = min(N, (1 − N·r)/(1 − r))` of it, where r is the cost of a rejection over the work of
//! a request.

use crate::piecewise::Piecewise;
use crate::scenario::stream::Stream;
use crate::world::journal::RequestRecord;
use crate::world::plan::Plan;

/// Patience, in seconds, of clients that wait for ever: the queue needs a bound.
const ENDLESS: f64 = 1.0;
/// Share of the longest possible queue below which the clairvoyant counts as idle.
const NEARLY_IDLE: f64 = 0.1;
const NANO: f64 = 1e-9;

#[derive(Debug)]
pub(super) struct Oracle<'p> {
    plan: &'p Plan,
    capacity: &'p Piecewise,
    at: f64,
    /// Mean latency of a request that meets no other.
    residence: f64,
    /// Rank of the queue of each stream; the streams with the least patience are served first.
    ranks: Vec<usize>,
    /// Work not done yet, in seconds of the bottleneck's time: first of rejections, then of each queue.
    debt: f64,
    lines: Vec<f64>,
    served: f64,
}

impl<'p> Oracle<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        let spans: Vec<f64> = plan.streams.iter().map(|plan| useful_span(&plan.stream)).collect();
        let shorter = |span: &f64| spans.iter().filter(|other| *other < span).count();
        Self {
            plan,
            capacity: &plan.capacity,
            at: 0.0,
            residence: plan.knee.at(0.0) / plan.requests.at(0.0),
            ranks: spans.iter().map(shorter).collect(),
            debt: 0.0,
            lines: vec![0.0; spans.len()],
            served: 0.0,
        }
    }

    /// Work done by then.
    pub(super) fn served_by(&mut self, at: f64) -> f64 {
        self.pass(at);
        self.served
    }

    /// A request arrives; it is accepted if it can be finished in time.
    pub(super) fn ask(&mut self, asked: &RequestRecord) {
        self.ask_at(asked, asked.at as f64 * NANO);
    }

    /// The same for a request that comes to the bottleneck later.
    pub(super) fn ask_at(&mut self, asked: &RequestRecord, at: f64) {
        self.pass(at);
        let rank = self.ranks[asked.stream as usize];
        let stream = &self.plan.streams[asked.stream as usize].stream;
        // The size of a request is unknown at admission. Rejecting the long requests first would be cheaper,
        // but no server can know which they are.
        let endless = stream.patience.is_none() && stream.deadline.is_none();
        let possible = endless || asked.uncontended as f64 * NANO <= useful_span(stream);
        let spent = if endless { 0.0 } else { at - asked.at as f64 * NANO };
        let wait = (useful_span(stream) - spent).max(0.0);
        let latest = at + (wait - self.residence).max(0.5 * wait);
        let ahead: f64 = self.lines[..=rank].iter().sum();
        if possible && self.debt + ahead <= self.can_do(at, latest) {
            self.lines[rank] += asked.work;
        } else {
            self.debt += self.plan.refusal;
        }
    }

    /// Whether an attempt that arrives now would find next to no queue.
    pub(super) fn is_nearly_idle(&mut self, at: f64, stream: u32) -> bool {
        self.pass(at);
        let wait = self.plan.streams[stream as usize].stream.patience.unwrap_or(ENDLESS);
        let backlog = self.debt + self.lines.iter().sum::<f64>();
        backlog < NEARLY_IDLE * self.can_do(at, at + wait)
    }

    fn can_do(&self, from: f64, to: f64) -> f64 {
        self.capacity.integral(to) - self.capacity.integral(from)
    }

    fn pass(&mut self, at: f64) {
        if at <= self.at {
            return;
        }
        let mut left = self.can_do(self.at, at);
        self.at = at;
        let paid = self.debt.min(left);
        self.debt -= paid;
        left -= paid;
        for line in &mut self.lines {
            let done = line.min(left);
            *line -= done;
            left -= done;
            self.served += done;
        }
    }
}

/// How long an answer to a request is worth something, its retries included, in seconds.
fn useful_span(stream: &Stream) -> f64 {
    let attempts = f64::from(stream.retry.attempts());
    let patience = stream.patience.unwrap_or(ENDLESS);
    match stream.deadline {
        Some(deadline) if attempts > 1.0 => deadline,
        Some(deadline) => deadline.min(patience),
        None => attempts * patience,
    }
}
