//! What everything in a run has in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use backpressure_core::Adaptive;
use tokio::time::Instant;
use tower_backpressure::{AdmissionLayer, RetryLayer};

use crate::world::agenda::Agenda;
use crate::world::clock::{nanos, seconds};
use crate::world::journal::{Journal, Level};
use crate::world::plan::Plan;
use crate::world::slab::{Id, Slab};
use crate::world::source::Source;

use super::event::Event;
use super::station::Stations;
use super::tasks::{Ready, Tasks};

pub(super) struct Stage<'p> {
    pub(super) plan: &'p Plan,
    /// Moment zero on tokio's clock.
    pub(super) epoch: Instant,
    /// What stands at the door of each replica.
    pub(super) doors: Vec<AdmissionLayer>,
    /// What the callers of each stream use who use ours: one layer a fleet.
    pub(super) retries: Vec<Vec<RetryLayer>>,
    pub(super) ready: Arc<Ready>,
    state: Mutex<State<'p>>,
}

/// What changes. The lock is never waited for: one thread runs at a time.
pub(super) struct State<'p> {
    pub(super) now: u64,
    judged_from: u64,
    pub(super) agenda: Agenda<Event>,
    pub(super) alarms: Slab<Waker>,
    pub(super) tasks: Tasks<'p>,
    pub(super) stations: Stations<'p>,
    pub(super) sources: Vec<Source>,
    /// Whose turn it is behind round robin, for each service.
    pub(super) turns: Vec<u32>,
    /// Attempts at each replica, those who wait included.
    pub(super) outstanding: Vec<u32>,
    /// Who may be waiting for one of tokio's own timers: in a gate's queue, or between attempts.
    pub(super) asleep: u32,
    pub(super) journal: Journal,
}

impl<'p> Stage<'p> {
    /// Must be called within the runtime whose clock it is.
    pub(super) fn new(plan: &'p Plan, seed: u64, retries: Vec<Vec<RetryLayer>>) -> Arc<Self> {
        let tasks = Tasks::new();
        let doors = plan.posts.iter().map(|post| {
            let workers = (post.site.cores.round() as usize).clamp(1, 4_096);
            // The world holds no refusals.
            AdmissionLayer::with_limit("lab", Adaptive::new(workers)).hold_refusals(0)
        });
        let streams = 0..plan.streams.len() as u32;
        Arc::new(Self {
            plan,
            epoch: Instant::now(),
            doors: doors.collect(),
            retries,
            ready: tasks.ready(),
            state: Mutex::new(State {
                now: 0,
                judged_from: nanos(plan.warmup),
                agenda: Agenda::new(),
                alarms: Slab::new(),
                tasks,
                stations: Stations::new(plan),
                sources: streams.map(|index| Source::new(plan, index, seed)).collect(),
                turns: vec![0; plan.services.len()],
                outstanding: vec![0; plan.posts.len()],
                asleep: 0,
                journal: Journal::default(),
            }),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<'p>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> u64 {
        self.state().now
    }

    pub(super) fn cancel(&self, task: Id) {
        // What it holds is given back once the lock is free.
        let work = self.state().tasks.cancel(task);
        drop(work);
    }

    /// Reads the levels off the doors of the entry service.
    pub(super) fn look(&self) {
        let entry = &self.doors[..self.plan.services[0].replicas as usize];
        let mut level = Level { at: seconds(self.now()), limit: 0.0, in_flight: 0.0, queued: 0.0 };
        for snapshot in entry.iter().map(AdmissionLayer::snapshot) {
            level.limit += snapshot.limit as f64;
            level.in_flight += snapshot.in_flight as f64;
            level.queued += snapshot.queued as f64;
        }
        self.state().journal.levels.push(level);
    }
}

impl State<'_> {
    pub(super) const fn is_judged(&self) -> bool {
        self.now >= self.judged_from
    }
}
