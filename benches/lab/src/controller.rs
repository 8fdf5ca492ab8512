//! Admission controllers of a simulated server: ours, and the published ones it is compared with.

use std::fmt;
use std::time::Duration;

use backpressure_core::{RequestInfo, Sample, Timestamp};

mod aimd;
pub(crate) mod baseline;
pub(crate) mod catalogue;
mod codel;
mod envoy;
mod executor;
mod failsafe;
#[cfg(test)]
mod fixtures;
mod gradient2;
mod limiter;
pub(crate) mod ours;
mod sample_window;
#[cfg(test)]
mod shipped;
mod tower;
mod tower_crates;

/// What a controller may know about its server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Site {
    /// Requests in flight at capacity when none waits, at the start of the run. Not knowable in a real server:
    /// only baselines that say so may use it.
    pub(crate) knee: f64,
    /// Workers that run requests. A process can ask its machine for this.
    pub(crate) cores: f64,
    /// Mean latency of a request that meets no other, in seconds. Not knowable, like the knee.
    pub(crate) mean: f64,
    /// Seed of every random number of the controller.
    pub(crate) seed: u64,
    /// Which of the replicas of the service this is.
    pub(crate) replica: u32,
}

/// Makes the controller of one server.
pub(crate) type Make<'m> = dyn Fn(&Site) -> Box<dyn Controller> + 'm;

/// Decides which attempts run at one server. There is one per replica, and it sees only what that server would
/// see.
///
/// The world calls [`arrive`](Self::arrive) for every attempt, [`depart`](Self::depart) for every attempt that
/// ran, and [`next`](Self::next) after each call until it returns `None`.
pub(crate) trait Controller: fmt::Debug {
    /// An attempt arrives.
    fn arrive(&mut self, attempt: AttemptInfo, now: Timestamp) -> Answer;

    /// An attempt that ran has ended: answered, failed or cancelled ([`Sample::outcome`]).
    ///
    /// Its weight is 0 if [`answered`](Self::answered) has already learned from it.
    fn depart(&mut self, attempt: AttemptInfo, sample: &Sample, now: Timestamp);

    /// The head of an answer is sent and its body is still to be read. Returns whether the controller has
    /// learned from this sample; the sample of the departure then has weight 0.
    fn answered(&mut self, _attempt: AttemptInfo, _sample: &Sample, _now: Timestamp) -> bool {
        false
    }

    /// The task of an attempt that runs was woken, or a poll of it begins or ends, where the scenario has a visible run
    /// queue.
    fn task(&mut self, _id: u64, _change: TaskChange, _now: Timestamp) {}

    /// The next decision about an attempt that was told to wait; `None` if there is none.
    fn next(&mut self, now: Timestamp) -> Option<Next>;

    /// A client gave up while its attempt was waiting.
    fn abandon(&mut self, attempt: AttemptInfo, now: Timestamp);

    /// When [`tick`](Self::tick) is to be called next; `None`: never.
    fn next_tick(&self) -> Option<Timestamp> {
        None
    }

    /// The time of [`next_tick`](Self::next_tick) has come.
    fn tick(&mut self, _now: Timestamp) {}

    /// How many attempts may run at once; infinite if there is no bound.
    fn limit(&self) -> f64;

    /// How many attempts wait.
    fn queued(&self) -> usize;
}

/// An attempt, as a server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttemptInfo {
    /// Identifies the attempt. Never reused.
    pub(crate) id: u64,
    /// Priority and deadline.
    pub(crate) arrival: RequestInfo,
}

/// What the executor does with the task of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskChange {
    Woken,
    PollBegins,
    /// The poll kept a core of this process busy for this long.
    PollEnds(Duration),
}

/// The decision about an attempt that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It runs now.
    Run,
    /// It waits until [`Controller::next`] names it.
    Wait,
    /// It is rejected.
    Shed(Refusal),
}

/// The decision about an attempt that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Run(u64),
    Shed(u64, Refusal),
}

/// What a rejection tells the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The wait that `Retry-After` asks for; `None`: there is no such header.
    pub(crate) retry_after: Option<Duration>,
    /// Whether it brings a ticket, with which a client proves that it comes back when told.
    pub(crate) ticket: bool,
}
