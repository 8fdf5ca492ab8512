//! A station in a run: a FIFO queue before cores, or processor sharing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::clock::{nanos, seconds};
use super::plan::{Sharing, StationPlan};
use super::slab::Id;

#[derive(Debug)]
pub(crate) enum Station {
    Fifo(Fifo),
    Shared(Shared),
}

impl Station {
    pub(crate) fn new(plan: &StationPlan) -> Self {
        match plan.sharing {
            Sharing::Fifo { visible } => Self::Fifo(Fifo { visible, ..Fifo::default() }),
            Sharing::Shared { sigma, kappa } => {
                Self::Shared(Shared { sigma, kappa, ..Shared::default() })
            }
        }
    }
}

/// First come, first served, on several cores.
#[derive(Debug, Default)]
pub(crate) struct Fifo {
    pub(crate) visible: bool,
    pub(crate) running: u32,
    pub(crate) queue: VecDeque<(Id, u64)>,
    /// Seconds of work that rejections have cost and that is not done yet.
    pub(crate) debt: f64,
}

/// When a job that starts now and takes `work` seconds at speed 1 is done; `None`: never.
pub(crate) fn done(plan: &StationPlan, now: u64, work: f64) -> Option<u64> {
    let start = seconds(now);
    plan.speed.reach(start, work).map(|end| now + nanos(end - start))
}

/// Processor sharing. Work is counted in the time that a job would take alone.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    sigma: f64,
    kappa: f64,
    jobs: u32,
    /// Work that a job present from the start would have got so far.
    each: f64,
    counted: u64,
    /// Value of `each` at which a job is done, as the bits of a non-negative number, and its key.
    ends: BinaryHeap<Reverse<(u64, u64)>>,
    /// When the next completion is expected, and the number of that estimate.
    due: Option<u64>,
    estimate: u32,
}

/// Seconds of work that rounding to nanoseconds may leave undone.
const ROUNDING: f64 = 2e-9;

impl Shared {
    /// Adds a job; returns the value of `each` at which it is done.
    pub(crate) fn join(&mut self, plan: &StationPlan, id: Id, work: f64, now: u64) -> f64 {
        self.count(plan, now);
        self.jobs += 1;
        let end = self.each + work;
        self.ends.push(Reverse((end.to_bits(), id.to_bits())));
        end
    }

    /// Removes a job before it is done; returns the work left.
    pub(crate) fn leave(&mut self, plan: &StationPlan, end: f64, now: u64) -> f64 {
        self.count(plan, now);
        self.jobs -= 1;
        (end - self.each).max(0.0)
    }

    /// The next job that is done by now, among those that are still `here`.
    pub(crate) fn pop(
        &mut self,
        plan: &StationPlan,
        now: u64,
        here: impl Fn(Id) -> bool,
    ) -> Option<Id> {
        self.count(plan, now);
        while let Some(&Reverse((end, id))) = self.ends.peek() {
            let id = Id::from_bits(id);
            if !here(id) {
                self.ends.pop();
            } else if f64::from_bits(end) <= self.each + ROUNDING {
                self.ends.pop();
                self.jobs -= 1;
                return Some(id);
            } else {
                return None;
            }
        }
        None
    }

    /// When the next completion is expected, and the number of that estimate; `None`: an earlier one is queued.
    pub(crate) fn next_completion(&mut self, plan: &StationPlan, now: u64) -> Option<(u64, u32)> {
        let Reverse((end, _)) = *self.ends.peek()?;
        let left = (f64::from_bits(end) - self.each).max(0.0);
        let at = done(plan, now, left / self.rate(plan, now))?.max(now + 1);
        if self.due.is_some_and(|due| due <= at) {
            return None;
        }
        self.due = Some(at);
        self.estimate = self.estimate.wrapping_add(1);
        Some((at, self.estimate))
    }

    /// Whether this estimate is the last one.
    pub(crate) fn is_due(&mut self, estimate: u32) -> bool {
        let due = self.estimate == estimate;
        if due {
            self.due = None;
        }
        due
    }

    /// To be called before the number of cores changes.
    pub(crate) fn count(&mut self, plan: &StationPlan, now: u64) {
        if self.counted < now {
            let (from, to) = (seconds(self.counted), seconds(now));
            let moved = plan.speed.integral(to) - plan.speed.integral(from);
            self.each += moved * self.rate(plan, self.counted);
            self.counted = now;
        }
    }

    /// Forgets the expected completion: something changed.
    pub(crate) const fn forget_estimate(&mut self) {
        self.due = None;
    }

    fn rate(&self, plan: &StationPlan, now: u64) -> f64 {
        let n = f64::from(self.jobs.max(1));
        let share = (plan.cores.at(seconds(now)) / n).min(1.0);
        share / (1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0))
    }
}
