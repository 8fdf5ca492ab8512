//! What the lock of a limiter guards: the controller, and the queued requests with their wakers.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

use backpressure_core::{
    Ages, Controller, Decision, Dequeued, RequestInfo, Sample, Shed, Ticket, Timestamp,
};

use super::activity::Activity;
use super::bounds::Bounds;
use super::counter::{Counter, Entry, SERIALS};
use super::holds::Holds;
use super::sampler::Sampler;

/// The state behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    controller: Controller,
    bounds: Bounds,
    queued: HashMap<Ticket, Waiter>,
    holds: Holds,
    sampler: Sampler,
    ages: Ages,
    /// Serial number of the last admission that the controller was told of.
    reported: u32,
}

#[derive(Debug)]
enum Waiter {
    /// No decision yet.
    Waiting(Option<Waker>),
    /// Decided, not yet collected.
    Decided(Result<Entry, Shed>),
}

/// The decision on a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Run(Entry),
    Wait(Ticket, Timestamp),
    Shed(Shed),
}

/// Permits that may count apart at most; any more count towards the limit. Together with the highest
/// limit they fit the counter's 20 bits; at about 10 kB a connection they take half a gigabyte.
const MAX_SILENT: usize = 48_000;

impl State {
    pub(crate) fn new(controller: Controller) -> Self {
        Self {
            bounds: Bounds::of(&controller),
            controller,
            queued: HashMap::new(),
            holds: Holds::default(),
            sampler: Sampler::new(),
            ages: Ages::default(),
            reported: 0,
        }
    }

    pub(crate) const fn controller(&self) -> &Controller {
        &self.controller
    }

    pub(crate) const fn controller_mut(&mut self) -> &mut Controller {
        &mut self.controller
    }

    pub(crate) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Changes the bounds of the limit; false when they are as before.
    pub(crate) fn change_bounds(&mut self, change: impl FnOnce(&mut Bounds)) -> bool {
        let before = self.bounds;
        change(&mut self.bounds);
        let has_changed = self.bounds != before;
        if has_changed {
            let (min, max) = self.bounds.in_force();
            self.controller.bound_limit(min, max);
        }
        has_changed
    }

    /// Tells the controller how many requests were admitted without a decision, and how long workers
    /// have been busy so far. Called first whenever the lock is taken.
    pub(crate) fn begin(
        &mut self,
        counter: &Counter,
        activity: &Activity,
        busy: Duration,
        now: Timestamp,
    ) {
        self.controller.worked(busy);
        if self.ages.is_due(self.controller.silence(), now) {
            self.ages.turn(activity.turn(), now);
        }
        let serial = counter.serial();
        let admitted = serial.wrapping_sub(self.reported) % SERIALS;
        if admitted > 0 {
            self.controller.admitted_undecided(admitted, now);
            self.reported = serial;
        }
    }

    /// A request that needs a decision. The counter is closed meanwhile: until it opens again it can
    /// only fall, and a permit whose release makes it fall takes the lock next.
    pub(crate) fn arrive(
        &mut self,
        info: RequestInfo,
        counter: &Counter,
        now: Timestamp,
    ) -> Answer {
        counter.close();
        match self.controller.arrive(info, self.counted(counter), now) {
            Decision::Run => Answer::Run(self.enter(counter)),
            Decision::Reject(shed) => Answer::Shed(shed),
            Decision::Queue(ticket, until) => {
                self.queued.insert(ticket, Waiter::Waiting(None));
                Answer::Wait(ticket, until)
            }
        }
    }

    /// A request that does not wait.
    pub(crate) fn arrive_without_queue(
        &mut self,
        counter: &Counter,
        now: Timestamp,
    ) -> Result<Entry, Shed> {
        counter.close();
        let counted = self.counted(counter);
        self.controller.arrive_without_queue(counted, now).map(|()| self.enter(counter))
    }

    /// Teaches the limit; returns the new sampling interval when it changed.
    pub(crate) fn learn(
        &mut self,
        sample: &Sample,
        stamp: Option<u32>,
        now: Timestamp,
    ) -> Option<u32> {
        // Latencies of permits that count apart say nothing about those that count.
        match stamp.is_some_and(|stamp| self.ages.is_silent(stamp)) {
            true => self.controller.complete_silent(sample),
            false => self.controller.complete(sample, now),
        }
        self.sampler.measured(now)
    }

    /// Admits queued requests as far as the limit goes, rejects those that waited in vain, and opens the
    /// counter. Called last whenever the lock is taken; returns the wakers to call without it.
    pub(crate) fn settle(&mut self, counter: &Counter, now: Timestamp) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(next) = self.controller.next(self.counted(counter), now) {
            let (ticket, decision) = match next {
                Dequeued::Run(ticket) => (ticket, Ok(self.enter(counter))),
                Dequeued::Reject(ticket, shed) => (ticket, Err(shed)),
            };
            let before = self.queued.insert(ticket, Waiter::Decided(decision));
            if let Some(Waiter::Waiting(Some(waker))) = before {
                wakers.push(waker);
            }
        }
        let open = self.controller.open();
        counter.open(if open > 0 { open + self.silent() } else { 0 });
        wakers
    }

    /// Takes back the units that a set of limiters has recalled, and are free; how many.
    pub(crate) fn take_recalled(&mut self, counter: &Counter) -> usize {
        let in_flight = self.counted(counter);
        self.controller.take_recalled(in_flight)
    }

    /// Units that the next request in the queue lacks.
    pub(crate) fn lacks(&mut self, cost: Option<u32>, counter: &Counter, now: Timestamp) -> usize {
        let in_flight = self.counted(counter);
        self.controller.lacks(cost, in_flight, now)
    }

    /// Takes up to this many units that are free; see [`Controller::take_free`].
    pub(crate) fn take_free(&mut self, units: usize, keep: usize, counter: &Counter) -> usize {
        // Closed, the counter can only fall until the allowance is lower.
        counter.close();
        let in_flight = self.counted(counter);
        self.controller.take_free(units, keep, in_flight)
    }

    /// The ages of permits that are watched for signs of work.
    pub(crate) fn ages(&mut self) -> &mut Ages {
        &mut self.ages
    }

    /// Permits that count apart: silent for long, and at most [`MAX_SILENT`].
    pub(crate) fn silent(&self) -> usize {
        self.ages.silent().min(MAX_SILENT)
    }

    /// Permits in flight that count towards the limit.
    pub(crate) fn counted(&self, counter: &Counter) -> usize {
        counter.in_flight().saturating_sub(self.silent())
    }

    /// Takes the decision on a ticket, or registers a waker for it.
    pub(crate) fn collect(&mut self, ticket: Ticket, waker: &Waker) -> Option<Result<Entry, Shed>> {
        match self.queued.get_mut(&ticket)? {
            Waiter::Decided(decision) => {
                let decision = *decision;
                self.queued.remove(&ticket);
                Some(decision)
            }
            Waiter::Waiting(Some(known)) if known.will_wake(waker) => None,
            Waiter::Waiting(known) => {
                *known = Some(waker.clone());
                None
            }
        }
    }

    /// The longest wait of a ticket is over. A decision may have been made at the last moment.
    pub(crate) fn expire(&mut self, ticket: Ticket, now: Timestamp) -> Option<Result<Entry, Shed>> {
        match self.queued.remove(&ticket)? {
            Waiter::Decided(decision) => Some(decision),
            Waiter::Waiting(_) => self.controller.expire(ticket, now).map(Err),
        }
    }

    /// Admits a request that the controller has just decided on.
    fn enter(&mut self, counter: &Counter) -> Entry {
        self.reported = self.reported.wrapping_add(1) % SERIALS;
        let hold = self.controller.hold();
        Entry { hold: self.holds.keep(hold), ..counter.enter(hold.units()) }
    }

    /// Releases a permit that has this hold.
    pub(crate) fn leave(&mut self, hold: u32, counter: &Counter, now: Timestamp) {
        if hold == 0 {
            // The lock is held already, and the next request is admitted before it is released.
            let _ = counter.leave();
            return;
        }
        let hold = self.holds.take(hold);
        counter.leave_units(hold.units());
        self.controller.release(hold, now);
    }

    /// Units that a permit with this hold takes.
    pub(crate) fn units(&self, hold: u32) -> usize {
        self.holds.units(hold)
    }

    /// The request with this ticket was dropped. If it was admitted already, its permit is released.
    pub(crate) fn abandon(&mut self, ticket: Ticket, counter: &Counter, now: Timestamp) {
        match self.queued.remove(&ticket) {
            Some(Waiter::Decided(Ok(entry))) => self.leave(entry.hold, counter, now),
            Some(Waiter::Waiting(_)) => {
                self.controller.abandon(ticket, now);
            }
            Some(Waiter::Decided(Err(_))) | None => {}
        }
    }
}
