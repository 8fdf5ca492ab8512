//! The controller of the core, driven as the limiter of the library drives it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use backpressure_core::{
    Adaptive, Ages, Controller as Core, Decision, Dequeued, LimitChange, QueueBounds, Sample, Shed,
    Ticket, Timestamp,
};

use crate::controller::{Answer, AttemptInfo, Controller, Next, Refusal, Site, TaskChange};

#[derive(Debug)]
struct Ours {
    core: Core,
    in_flight: usize,
    /// How many requests may be in flight before an arrival has to ask the core.
    open: usize,
    /// Requests admitted without asking since the core was last told.
    passed: u32,
    /// Requests that wait: by ticket, by attempt, and by the time of their next look.
    waiting: BTreeMap<Ticket, Place>,
    tickets: BTreeMap<u64, Ticket>,
    looks: BTreeSet<(Timestamp, Ticket)>,
    /// Requests in flight, by attempt.
    entries: BTreeMap<u64, Entry>,
    ages: Ages,
    /// Time that cores have spent on requests so far.
    busy: Duration,
    /// Decisions that the world has not been told yet.
    decided: VecDeque<Next>,
    explained: Option<Explained>,
}

/// Where changes of the limit are reported.
#[derive(Clone, Copy, Debug)]
struct Explained {
    replica: u32,
    report: fn(u32, LimitChange),
    last: Option<LimitChange>,
}

/// A request in flight: how many were in flight with it when it was admitted, and the stamp of its place.
#[derive(Clone, Copy, Debug)]
struct Entry {
    in_flight: usize,
    stamp: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    id: u64,
    until: Timestamp,
    /// When the request looks next whether time has made room.
    look: Timestamp,
}

/// As often as a request that waits in the limiter looks whether time has made room.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A poll this long is a sign of work, as in the limiter.
const MIN_WORK: Duration = Duration::from_millis(1);

/// The next look, at a whole millisecond: tokio's timers fire at those.
fn next_look(now: Timestamp, until: Timestamp) -> Timestamp {
    let millis = (now + LOOK_EVERY).as_nanos().div_ceil(1_000_000);
    until.min(Timestamp::from_nanos(millis * 1_000_000))
}

pub(super) fn make(site: &Site) -> Box<dyn Controller> {
    Box::new(Ours::new(site, None))
}

/// Ours, which reports every change of the limit of a replica.
pub(crate) fn explained(site: &Site, report: fn(u32, LimitChange)) -> Box<dyn Controller> {
    let explained = Explained { replica: site.replica, report, last: None };
    Box::new(Ours::new(site, Some(explained)))
}

impl Ours {
    fn new(site: &Site, explained: Option<Explained>) -> Self {
        let limit = Adaptive::new((site.cores.round() as usize).clamp(1, 4_096));
        let core = Core::new(Box::new(limit), QueueBounds::default());
        Self {
            in_flight: 0,
            open: core.open(),
            passed: 0,
            core,
            waiting: BTreeMap::new(),
            tickets: BTreeMap::new(),
            looks: BTreeSet::new(),
            entries: BTreeMap::new(),
            ages: Ages::default(),
            busy: Duration::ZERO,
            decided: VecDeque::new(),
            explained,
        }
    }

    fn explain(&mut self) {
        let Some(explained) = &mut self.explained else { return };
        let change = self.core.last_change();
        if let Some(change) = change.filter(|change| Some(*change) != explained.last) {
            (explained.report)(explained.replica, change);
        }
        explained.last = change;
    }

    fn wait(&mut self, id: u64, ticket: Ticket, until: Timestamp, now: Timestamp) {
        let look = next_look(now, until);
        self.waiting.insert(ticket, Place { id, until, look });
        self.tickets.insert(id, ticket);
        self.looks.insert((look, ticket));
    }

    /// A request that waits looks whether time has made room.
    fn look(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(place) = self.waiting.get_mut(&ticket) else { return };
        self.looks.remove(&(place.look, ticket));
        place.look = next_look(now, place.until);
        self.looks.insert((place.look, ticket));
        self.visit(now, |_, _| ());
        self.settle(now);
    }

    /// Removes a ticket and returns its attempt.
    fn forget(&mut self, ticket: Ticket) -> Option<u64> {
        let place = self.waiting.remove(&ticket)?;
        self.tickets.remove(&place.id);
        self.looks.remove(&(place.look, ticket));
        Some(place.id)
    }

    fn expire(&mut self, ticket: Ticket, now: Timestamp) {
        let shed = self.visit(now, |core, _| core.expire(ticket, now));
        if let (Some(id), Some(shed)) = (self.forget(ticket), shed) {
            self.decided.push_back(Next::Shed(id, refusal(shed)));
        }
        self.settle(now);
    }

    fn learn(&mut self, attempt: AttemptInfo, sample: &Sample, now: Timestamp) {
        let Some(&Entry { in_flight, stamp }) = self.entries.get(&attempt.id) else { return };
        let sample = sample.in_flight(in_flight).in_flight_at_end(self.working().max(1));
        self.visit(now, |_, _| ());
        match self.ages.is_silent(stamp) {
            true => self.core.complete_silent(&sample),
            false => self.core.complete(&sample, now),
        }
        self.settle(now);
    }

    fn enter(&mut self, id: u64) {
        self.in_flight += 1;
        let entry = Entry { in_flight: self.working().max(1), stamp: self.ages.generation() };
        self.entries.insert(id, entry);
    }

    fn leave(&mut self, id: u64, now: Timestamp) {
        let stamp = self.entries.remove(&id).map_or(self.ages.generation(), |entry| entry.stamp);
        let fresh = stamp == self.ages.generation();
        if !fresh {
            self.visit(now, |_, _| ());
            self.ages.leave(stamp);
        }
        self.in_flight -= 1;
        if self.open == 0 || !fresh {
            self.visit(now, |_, _| ());
            self.settle(now);
        }
    }

    /// A request in flight gives a sign of work: it counts towards the limit again.
    fn renew_stamp(&mut self, id: u64, now: Timestamp) {
        let Some(&Entry { stamp, .. }) = self.entries.get(&id) else { return };
        if stamp == self.ages.generation() {
            return;
        }
        self.visit(now, |_, _| ());
        self.ages.leave(stamp);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.stamp = self.ages.generation();
        }
        self.settle(now);
    }

    /// Asks or tells the core something; [`settle`](Self::settle) comes next.
    fn visit<T>(&mut self, now: Timestamp, visit: impl FnOnce(&mut Core, usize) -> T) -> T {
        let passed = std::mem::take(&mut self.passed);
        if passed > 0 {
            self.core.admitted_undecided(passed, now);
        }
        if self.ages.is_due(self.core.silence(), now) {
            self.ages.turn(self.in_flight, now);
        }
        self.core.worked(self.busy);
        let working = self.working();
        visit(&mut self.core, working)
    }

    /// Requests in flight that count towards the limit.
    fn working(&self) -> usize {
        self.in_flight.saturating_sub(self.ages.silent())
    }

    /// Admits and rejects requests that wait as far as possible, and opens the fast path.
    fn settle(&mut self, now: Timestamp) {
        while let Some(decision) = self.core.next(self.working(), now) {
            let (Dequeued::Run(ticket) | Dequeued::Reject(ticket, _)) = decision;
            let Some(id) = self.forget(ticket) else { continue };
            let next = match decision {
                Dequeued::Run(_) => {
                    self.enter(id);
                    Next::Run(id)
                }
                Dequeued::Reject(_, shed) => Next::Shed(id, refusal(shed)),
            };
            self.decided.push_back(next);
        }
        let open = self.core.open();
        self.open = if open > 0 { open + self.ages.silent() } else { 0 };
        self.explain();
    }
}

impl Controller for Ours {
    fn arrive(&mut self, attempt: AttemptInfo, now: Timestamp) -> Answer {
        if self.in_flight < self.open && !attempt.arrival.returning {
            self.enter(attempt.id);
            self.passed += 1;
            return Answer::Run;
        }
        let asks = |core: &mut Core, in_flight| core.arrive(attempt.arrival, in_flight, now);
        let answer = match self.visit(now, asks) {
            Decision::Run => {
                self.enter(attempt.id);
                Answer::Run
            }
            Decision::Queue(ticket, until) => {
                self.wait(attempt.id, ticket, until, now);
                Answer::Wait
            }
            Decision::Reject(shed) => Answer::Shed(refusal(shed)),
        };
        self.settle(now);
        answer
    }

    /// As a permit does it: the sample is told while the place is still taken.
    fn depart(&mut self, attempt: AttemptInfo, sample: &Sample, now: Timestamp) {
        if sample.weight > 0 {
            self.learn(attempt, sample, now);
        }
        self.leave(attempt.id, now);
    }

    /// What follows the head depends on the reader and not on the service.
    fn answered(&mut self, attempt: AttemptInfo, sample: &Sample, now: Timestamp) -> bool {
        self.learn(attempt, sample, now);
        self.visit(now, |_, _| ());
        if let Some(entry) = self.entries.get_mut(&attempt.id) {
            entry.stamp = self.ages.rest(entry.stamp);
        }
        self.settle(now);
        true
    }

    fn task(&mut self, id: u64, change: TaskChange, now: Timestamp) {
        if let TaskChange::PollEnds(busy) = change {
            self.busy += busy;
            if busy >= MIN_WORK {
                self.renew_stamp(id, now);
            }
        }
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        self.decided.pop_front()
    }

    fn abandon(&mut self, attempt: AttemptInfo, now: Timestamp) {
        if let Some(&ticket) = self.tickets.get(&attempt.id) {
            self.forget(ticket);
            self.visit(now, |core, _| core.abandon(ticket, now));
            self.settle(now);
            return;
        }
        let decided = self.decided.iter().position(|next| names(*next, attempt.id));
        if let Some(Next::Run(_)) = decided.and_then(|index| self.decided.remove(index)) {
            self.leave(attempt.id, now);
        }
    }

    fn next_tick(&self) -> Option<Timestamp> {
        self.looks.first().map(|&(look, _)| look)
    }

    fn tick(&mut self, now: Timestamp) {
        while let Some(&(look, ticket)) = self.looks.first() {
            if look > now {
                return;
            }
            match self.waiting.get(&ticket).is_some_and(|place| place.until > now) {
                true => self.look(ticket, now),
                false => self.expire(ticket, now),
            }
        }
    }

    fn limit(&self) -> f64 {
        self.core.limit() as f64
    }

    fn queued(&self) -> usize {
        self.core.queued()
    }
}

fn refusal(shed: Shed) -> Refusal {
    Refusal { retry_after: Some(shed.retry_after), ticket: true }
}

fn names(next: Next, id: u64) -> bool {
    let (Next::Run(named) | Next::Shed(named, _)) = next;
    named == id
}
