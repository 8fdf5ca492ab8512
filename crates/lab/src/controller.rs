//! What stands at the door of a simulated server: ours, and every known one.

use std::fmt;
use std::time::Duration;

use backpressure_core::{Arrival, Decision, Sample, Timestamp};

mod aimd;
mod arc;
mod breakwater;
pub(crate) mod catalogue;
mod cinnamon;
mod codel;
pub(crate) mod configured;
mod crates;
mod dagor;
mod dice;
mod door;
mod envoy;
mod executor;
mod failsafe;
mod fixed;
mod go_zero;
mod gradient2;
mod measured;
mod open;
mod ours;
mod protego;
mod seda;
#[cfg(test)]
mod steps;
mod tower;
mod vegas;

/// What a controller may be told of the server it stands at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Site {
    /// How many requests are in flight at capacity when nobody waits, at the start of the run.
    /// A clairvoyant's knowledge: only baselines that say so may use it.
    pub(crate) knee: f64,
    /// Workers that run requests: what a process can ask its machine.
    pub(crate) cores: f64,
    /// Mean latency of a request alone in the system, in seconds. Clairvoyant, as the knee.
    pub(crate) mean: f64,
    /// For whatever the controller draws.
    pub(crate) seed: u64,
    /// Which of the service's replicas this is.
    pub(crate) replica: u32,
}

/// Makes the controller of one server.
pub(crate) type Make<'m> = dyn Fn(&Site) -> Box<dyn Controller> + 'm;

/// Decides who runs at one server. One value a replica; it sees only what a server would see.
///
/// The world calls [`arrive`](Self::arrive) for every attempt, [`depart`](Self::depart) for every
/// one that ran, and [`next`](Self::next) until it is silent after each call.
pub(crate) trait Controller: fmt::Debug {
    /// An attempt is at the door.
    fn arrive(&mut self, visitor: Visitor, now: Timestamp) -> Answer;

    /// An attempt that ran has ended: answered, failed or cancelled ([`Sample::outcome`]).
    ///
    /// Whose head was told by [`answered`](Self::answered) has weight 0.
    fn depart(&mut self, visitor: Visitor, sample: &Sample, now: Timestamp);

    /// The head of an answer is out, its body is still to be read. Whoever learns from that says so
    /// by true, and is not told again: the departure weighs nothing then.
    fn answered(&mut self, _visitor: Visitor, _sample: &Sample, _now: Timestamp) -> bool {
        false
    }

    /// An attempt that runs has kept a core of this process for so long, without a pause.
    fn worked(&mut self, _visitor: Visitor, _busy: Duration, _now: Timestamp) {}

    /// What happens next to those who were told to wait; `None`: nothing.
    fn next(&mut self, now: Timestamp) -> Option<Next>;

    /// Somebody who was told to wait has gone.
    fn abandon(&mut self, visitor: Visitor, now: Timestamp);

    /// When [`tick`](Self::tick) wants to be called next; `None`: never.
    fn alarm(&self) -> Option<Timestamp> {
        None
    }

    /// The alarm rang: what the server's own instruments show.
    fn tick(&mut self, _instruments: &Instruments, _now: Timestamp) {}

    /// How many may run at once, for the picture; infinite when nothing bounds it.
    fn limit(&self) -> f64;

    /// How many wait.
    fn queued(&self) -> usize;

    /// The last move of the limit, and why it was made, where that is said.
    fn decision(&self) -> Option<Decision> {
        None
    }
}

/// An attempt, as a server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// Names the attempt; never used twice.
    pub(crate) id: u64,
    pub(crate) tenant: u32,
    /// The caller, whose requests are alike: a user, a session.
    pub(crate) user: u32,
    /// Priority and deadline.
    pub(crate) arrival: Arrival,
}

/// The answer to an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It runs now.
    Run,
    /// It waits until [`Controller::next`] names it.
    Wait,
    /// It is turned away.
    Shed(Refusal),
}

/// What happens to somebody who waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Run(u64),
    Shed(u64, Refusal),
}

/// What the refused are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// When to come back; `None`: nothing is said.
    pub(crate) retry_after: Option<Duration>,
}

/// What a server can read off itself besides its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Instruments {
    /// Seconds its cores have worked so far, all together.
    pub(crate) busy: f64,
    /// Its cores.
    pub(crate) cores: f64,
    /// How long the oldest task in its run queue has waited.
    pub(crate) run_queue: Duration,
}
