//! What all handles of one gate share: the count, and the desk behind its lock.

use std::task::Waker;
use std::time::Duration;

use backpressure_core::{Arrival, Machine, Metering, Sample, Shed, Ticket, Timestamp};

use crate::activity::Activity;
use crate::count::{Count, Entry};
use crate::desk::{Answer, Desk};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The protocol between those who pass and those who ask. Time is an argument: the whole of it
/// can be model-checked without a runtime.
#[derive(Debug)]
pub(crate) struct Hall {
    count: Count,
    desk: Mutex<Desk>,
    /// What the limit of the moment needs measured, as a number: see [`number`].
    metering: AtomicU32,
    /// One entrant in so many is measured.
    stride: AtomicU32,
    /// Whether entrants yield once before they run.
    yields: AtomicBool,
    /// Whether a request that waits for something counts however long it waits.
    counts_waiting: AtomicBool,
    activity: Activity,
    /// Places that count apart, as of the last visit to the desk.
    silent: AtomicUsize,
    /// Nanoseconds that workers have spent on requests.
    worked: AtomicU64,
}

impl Hall {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            count: Count::new(machine.open()),
            metering: AtomicU32::new(number(machine.metering())),
            stride: AtomicU32::new(1),
            yields: AtomicBool::new(machine.yields()),
            counts_waiting: AtomicBool::new(machine.counts_waiting()),
            activity: Activity::default(),
            silent: AtomicUsize::new(0),
            worked: AtomicU64::new(0),
            desk: Mutex::new(Desk::new(machine)),
        }
    }

    pub(crate) fn metering(&self) -> Metering {
        match self.metering.load(Ordering::Relaxed) {
            0 => Metering::Nothing,
            1 => Metering::Latency,
            _ => Metering::RunQueue,
        }
    }

    pub(crate) fn yields(&self) -> bool {
        self.yields.load(Ordering::Relaxed)
    }

    pub(crate) fn counts_waiting(&self) -> bool {
        self.counts_waiting.load(Ordering::Relaxed)
    }

    /// How many of those an entrant found in flight count towards the limit.
    pub(crate) fn working(&self, entry: Entry) -> usize {
        entry.in_flight.saturating_sub(self.apart()).max(1)
    }

    /// How many in flight count towards the limit.
    pub(crate) fn in_flight_working(&self) -> usize {
        self.count.in_flight().saturating_sub(self.apart()).max(1)
    }

    /// Whether a place with this stamp counts apart.
    pub(crate) fn is_silent(&self, stamp: u32) -> bool {
        self.activity.generation().wrapping_sub(stamp) > 1
    }

    /// A worker has spent so much time on a request.
    pub(crate) fn worked(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.worked.fetch_add(nanos, Ordering::Relaxed);
    }

    /// A place begins to be watched for signs of work; its stamp.
    pub(crate) fn stamp(&self) -> u32 {
        self.activity.enter()
    }

    /// A place with this stamp gives a sign of work; its new stamp.
    #[inline]
    pub(crate) fn stamp_again(&self, stamp: u32, now: impl FnOnce() -> Timestamp) -> u32 {
        if self.activity.generation() == stamp {
            return stamp;
        }
        self.visit(now(), |desk, _| {
            desk.ages().leave(stamp);
            desk.ages().generation()
        })
    }

    /// A place with this stamp counts apart from now on, until it gives a sign of work; its new stamp.
    pub(crate) fn rest(&self, stamp: u32, now: Timestamp) -> u32 {
        self.visit(now, |desk, _| desk.ages().rest(stamp))
    }

    /// A place with this stamp is watched no longer.
    #[inline]
    pub(crate) fn unstamp(&self, stamp: u32, now: impl FnOnce() -> Timestamp) {
        if !self.activity.leave(stamp) {
            self.visit(now(), |desk, _| {
                self.activity.leave_any();
                desk.ages().leave(stamp);
            });
        }
    }

    /// How many entrants this one stands for in the measurements; 0: it is not measured.
    pub(crate) fn weight(&self, entry: Entry) -> u32 {
        let every = self.stride.load(Ordering::Relaxed);
        if entry.serial & (every - 1) == 0 { every } else { 0 }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.count.in_flight()
    }

    /// Places that count apart.
    pub(crate) fn apart(&self) -> usize {
        self.silent.load(Ordering::Relaxed)
    }

    /// Enters where nobody has to be asked.
    pub(crate) fn pass(&self) -> Option<Entry> {
        self.count.try_enter()
    }

    /// Asks to enter.
    pub(crate) fn ask(&self, arrival: Arrival, now: Timestamp) -> Answer {
        self.visit(now, |desk, count| desk.arrive(arrival, count, now))
    }

    /// Asks to enter, but would not wait.
    pub(crate) fn ask_once(&self, now: Timestamp) -> Result<Entry, Shed> {
        self.visit(now, |desk, count| desk.arrive_or_leave(count, now))
    }

    /// Leaves.
    #[inline]
    pub(crate) fn leave(&self, now: impl FnOnce() -> Timestamp) {
        if self.count.leave() {
            self.settle(now());
        }
    }

    /// Looks whether time alone has made room.
    #[cold]
    pub(crate) fn settle(&self, now: Timestamp) {
        self.visit(now, |_, _| ());
    }

    /// Teaches the limit, from a place with this stamp.
    pub(crate) fn learn(&self, sample: &Sample, stamp: Option<u32>, now: Timestamp) {
        self.visit(now, |desk, _| {
            if let Some(every) = desk.learn(sample, stamp, now) {
                self.stride.store(every, Ordering::Relaxed);
            }
            self.yields.store(desk.machine().yields(), Ordering::Relaxed);
        });
    }

    /// Collects the decision on a ticket, or leaves a waker for it.
    pub(crate) fn collect(&self, ticket: Ticket, waker: &Waker) -> Option<Result<Entry, Shed>> {
        self.lock().collect(ticket, waker)
    }

    /// The time of a ticket is up.
    pub(crate) fn expire(&self, ticket: Ticket, now: Timestamp) -> Option<Result<Entry, Shed>> {
        self.visit(now, |desk, _| desk.expire(ticket, now))
    }

    /// Whoever held a ticket has gone.
    pub(crate) fn abandon(&self, ticket: Ticket, now: Timestamp) {
        self.visit(now, |desk, count| {
            if desk.abandon(ticket) {
                // The desk is being visited already: whoever has to be told is told below.
                let _ = count.leave();
            }
        });
    }

    /// Looks at the machine.
    pub(crate) fn inspect<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(self.lock().machine())
    }

    /// Changes the machine.
    pub(crate) fn change(&self, now: Timestamp, change: impl FnOnce(&mut Machine)) {
        self.visit(now, |desk, _| {
            change(desk.machine_mut());
            // Another limit may need more, or less, than the one before.
            self.metering.store(number(desk.machine().metering()), Ordering::Relaxed);
            self.yields.store(desk.machine().yields(), Ordering::Relaxed);
            self.counts_waiting.store(desk.machine().counts_waiting(), Ordering::Relaxed);
        });
    }

    fn visit<T>(&self, now: Timestamp, visit: impl FnOnce(&mut Desk, &Count) -> T) -> T {
        let mut desk = self.lock();
        let worked = Duration::from_nanos(self.worked.load(Ordering::Relaxed));
        desk.open(&self.count, &self.activity, worked, now);
        let answer = visit(&mut desk, &self.count);
        let wakes = desk.settle(&self.count, now);
        self.silent.store(desk.silent(), Ordering::Relaxed);
        drop(desk);
        wakes.into_iter().for_each(Waker::wake);
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        // A panic under the lock can only come from a limit somebody else wrote; the desk's own
        // state is whole, and a door that stays shut would be worse than a wrong limit.
        self.desk.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

const fn number(metering: Metering) -> u32 {
    match metering {
        Metering::Nothing => 0,
        Metering::Latency => 1,
        Metering::RunQueue => 2,
    }
}

#[cfg(all(test, gate_loom))]
mod model;
