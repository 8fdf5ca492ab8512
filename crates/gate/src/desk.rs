//! Where those ask who cannot simply pass: the machine, and the people who wait.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

use backpressure_core::{Ages, Arrival, Machine, Next, Sample, Shed, Ticket, Timestamp, Verdict};

use crate::activity::Activity;
use crate::count::{Count, Entry, SERIALS};
use crate::stride::Stride;

/// The locked part of a gate.
#[derive(Debug)]
pub(crate) struct Desk {
    machine: Machine,
    waiting: HashMap<Ticket, Waiter>,
    stride: Stride,
    ages: Ages,
    /// The serial number of the last entrant the machine knows of.
    known: u32,
}

#[derive(Debug)]
enum Waiter {
    /// Nobody has decided yet.
    Waiting(Option<Waker>),
    /// Decided, not yet collected.
    Decided(Result<Entry, Shed>),
}

/// What somebody at the desk is told.
#[derive(Debug)]
pub(crate) enum Answer {
    Run(Entry),
    Wait(Ticket, Timestamp),
    Shed(Shed),
}

/// Places that may count apart at most; any more count towards the limit. With the highest limit there is
/// they still fit the counter's twenty bits; at some ten kilobytes a connection they are half a gigabyte.
const MOST_SILENT: usize = 48_000;

/// Wakers to call once the lock is free.
pub(crate) type Wakes = Vec<Waker>;

impl Desk {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            waiting: HashMap::new(),
            stride: Stride::new(),
            ages: Ages::default(),
            known: 0,
        }
    }

    pub(crate) const fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) const fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Tells the machine how many passed without asking, and how long workers have worked so far. Begins every
    /// visit to the desk.
    pub(crate) fn open(
        &mut self,
        count: &Count,
        activity: &Activity,
        worked: Duration,
        now: Timestamp,
    ) {
        self.machine.worked(worked);
        if self.ages.is_due(self.machine.silence(), now) {
            self.ages.turn(activity.turn(), now);
        }
        let serial = count.serial();
        let passed = serial.wrapping_sub(self.known) % SERIALS;
        if passed > 0 {
            self.machine.passed(passed, now);
            self.known = serial;
        }
    }

    /// Somebody asks to enter. The count is closed while that is decided: until it opens again,
    /// it can only fall, and whoever makes it fall comes to the desk next.
    pub(crate) fn arrive(&mut self, arrival: Arrival, count: &Count, now: Timestamp) -> Answer {
        count.close();
        match self.machine.arrive(arrival, self.working(count), now) {
            Verdict::Run => Answer::Run(self.enter(count)),
            Verdict::Shed(shed) => Answer::Shed(shed),
            Verdict::Wait(ticket, until) => {
                self.waiting.insert(ticket, Waiter::Waiting(None));
                Answer::Wait(ticket, until)
            }
        }
    }

    /// Somebody asks to enter who would not wait.
    pub(crate) fn arrive_or_leave(&mut self, count: &Count, now: Timestamp) -> Result<Entry, Shed> {
        count.close();
        let working = self.working(count);
        self.machine.arrive_or_leave(working, now).map(|()| self.enter(count))
    }

    /// What a measured attempt taught; the new stride when it changed.
    pub(crate) fn learn(
        &mut self,
        sample: &Sample,
        stamp: Option<u32>,
        now: Timestamp,
    ) -> Option<u32> {
        // Samples speak of the places that count.
        match stamp.is_some_and(|stamp| self.ages.is_silent(stamp)) {
            true => self.machine.depart_silent(sample),
            false => self.machine.depart(sample, now),
        }
        self.stride.measured(now)
    }

    /// Lets in whoever can run, turns away whoever cannot, and opens the count as far as it goes.
    /// Ends every visit to the desk.
    pub(crate) fn settle(&mut self, count: &Count, now: Timestamp) -> Wakes {
        let mut wakes = Wakes::new();
        while let Some(next) = self.machine.next(self.working(count), now) {
            let (ticket, decision) = match next {
                Next::Run(ticket) => (ticket, Ok(self.enter(count))),
                Next::Shed(ticket, shed) => (ticket, Err(shed)),
            };
            let before = self.waiting.insert(ticket, Waiter::Decided(decision));
            if let Some(Waiter::Waiting(Some(waker))) = before {
                wakes.push(waker);
            }
        }
        let open = self.machine.open();
        count.open(if open > 0 { open + self.silent() } else { 0 });
        wakes
    }

    /// A place with this stamp gives another sign of work, or is given back.
    pub(crate) fn ages(&mut self) -> &mut Ages {
        &mut self.ages
    }

    /// Places that count apart: silent for long, and not more than there may be.
    pub(crate) fn silent(&self) -> usize {
        self.ages.silent().min(MOST_SILENT)
    }

    /// Places in flight that count towards the limit.
    fn working(&self, count: &Count) -> usize {
        count.in_flight().saturating_sub(self.silent())
    }

    /// Collects the decision on a ticket, or leaves a waker for it.
    pub(crate) fn collect(&mut self, ticket: Ticket, waker: &Waker) -> Option<Result<Entry, Shed>> {
        match self.waiting.get_mut(&ticket)? {
            Waiter::Decided(decision) => {
                let decision = *decision;
                self.waiting.remove(&ticket);
                Some(decision)
            }
            Waiter::Waiting(Some(known)) if known.will_wake(waker) => None,
            Waiter::Waiting(known) => {
                *known = Some(waker.clone());
                None
            }
        }
    }

    /// The time of a ticket is up: the decision, which may have been made in the last moment.
    pub(crate) fn expire(&mut self, ticket: Ticket, now: Timestamp) -> Option<Result<Entry, Shed>> {
        match self.waiting.remove(&ticket)? {
            Waiter::Decided(decision) => Some(decision),
            Waiter::Waiting(_) => self.machine.expire(ticket, now).map(Err),
        }
    }

    /// Lets one in of whom the machine knows.
    fn enter(&mut self, count: &Count) -> Entry {
        self.known = self.known.wrapping_add(1) % SERIALS;
        count.enter()
    }

    /// Whoever held this ticket has gone; true when a place was already theirs and is free again.
    pub(crate) fn abandon(&mut self, ticket: Ticket) -> bool {
        match self.waiting.remove(&ticket) {
            Some(Waiter::Decided(decision)) => decision.is_ok(),
            Some(Waiter::Waiting(_)) => {
                self.machine.abandon(ticket);
                false
            }
            None => false,
        }
    }
}
