//! The shared door.

use std::sync::Arc;

use backpressure_core::{
    Adaptive, Arrival, Decision, Fixed, Limit, Machine, Metering, OutOfRange, QueueBounds, Shed,
    Timestamp,
};
use tokio::time::Instant;

use crate::door::Door;
use crate::enter::{Asked, Enter};
use crate::permit::Permit;

/// The shared door: whoever enters runs, as many at once as the limit says; the others wait in a
/// bounded queue or are turned away.
///
/// Handles are cheap to clone and all open the same door. While nobody waits, entering and leaving
/// is atomic arithmetic on one word; a lock is taken to wait, to be turned away, and to learn.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), backpressure_gate::Shed> {
/// use backpressure_gate::{Arrival, Gate, QueueBounds};
///
/// let gate = Gate::fixed(1, QueueBounds::NONE);
/// let permit = gate.enter(Arrival::default()).await?;
/// assert!(gate.try_enter().is_err());
/// drop(permit);
/// assert!(gate.try_enter().is_ok());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Gate {
    door: Arc<Door>,
}

/// The state of a gate at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How many may run at once.
    pub limit: usize,
    /// How many hold a permit.
    pub in_flight: usize,
    /// How many of them count apart, and not towards the limit: they have given no sign of work for long.
    pub apart: usize,
    /// How many wait.
    pub queued: usize,
    /// Whether demand is above capacity.
    pub overloaded: bool,
}

impl Gate {
    /// A gate that finds its limit by itself.
    ///
    /// The limit counts on the worker threads of the current tokio runtime; outside a runtime, on
    /// the available parallelism.
    #[must_use]
    pub fn adaptive() -> Self {
        Self::new(Adaptive::new(workers()), QueueBounds::default())
    }

    /// A gate with a limit somebody chose.
    ///
    /// # Panics
    /// When `limit` is not in 1..=1 000 000.
    #[must_use]
    pub fn fixed(limit: usize, queue: QueueBounds) -> Self {
        Self::new(Fixed::new(limit), queue)
    }

    /// The same with a number that is not known when the program is written.
    ///
    /// # Errors
    /// When `limit` is not in 1..=1 000 000.
    pub fn try_fixed(limit: usize, queue: QueueBounds) -> Result<Self, OutOfRange> {
        Fixed::try_new(limit).map(|limit| Self::new(limit, queue))
    }

    /// A gate with any limit. What it answers is taken for the nearest number in 1..=1 000 000.
    #[must_use]
    pub fn new(limit: impl Limit + 'static, queue: QueueBounds) -> Self {
        Self { door: Arc::new(Door::new(Machine::new(Box::new(limit), queue))) }
    }

    /// Enters, waiting if need be.
    ///
    /// # Errors
    /// [`Shed`] when the request is turned away: it says why, and when to come back.
    ///
    /// # Panics
    /// When it has to wait outside a tokio runtime with time enabled.
    pub fn enter(&self, arrival: Arrival) -> Enter {
        Enter::new(Arc::clone(&self.door), arrival)
    }

    /// Asks to enter now: what the first poll of [`enter`](Self::enter) does, without a future
    /// where none is needed.
    ///
    /// # Panics
    /// When it has to wait outside a tokio runtime with time enabled.
    pub fn ask(&self, arrival: Arrival, now: Instant) -> Asked {
        Enter::ask(&self.door, arrival, now)
    }

    /// Enters at once or not at all.
    ///
    /// # Errors
    /// [`Shed`] when it cannot run at once.
    pub fn try_enter(&self) -> Result<Permit, Shed> {
        let hall = self.door.hall();
        let entry = match hall.pass() {
            Some(entry) => entry,
            None => hall.ask_once(self.door.now())?,
        };
        Ok(Permit::new(Arc::clone(&self.door), entry))
    }

    /// Enters if nobody has to be asked: what [`enter`](Self::enter) does first, without a future.
    #[inline]
    pub fn pass(&self) -> Option<Permit> {
        let entry = self.door.hall().pass()?;
        Some(Permit::new(Arc::clone(&self.door), entry))
    }

    /// The state of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (in_flight, now) = (self.door.hall().in_flight(), self.door.now());
        let apart = self.door.hall().apart();
        self.door.hall().inspect(|machine| Snapshot {
            limit: machine.limit(),
            in_flight,
            apart,
            queued: machine.queued(),
            overloaded: machine.is_overloaded(now),
        })
    }

    /// Whether far more is asked for than could be served, as of the last request that could not run
    /// at once: callers ask again as soon as they are refused, or a crowd came in one moment. A
    /// refusal that is held for a while slows them down.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.door.hall().inspect(Machine::is_flooded)
    }

    /// The last move of the limit, and the numbers it rests on; `None`: it has not moved, or its
    /// algorithm does not say.
    #[must_use]
    pub fn decision(&self) -> Option<Decision> {
        self.door.hall().inspect(Machine::decision)
    }

    /// Puts another limit in the place of the present one, from now on.
    ///
    /// Nobody in flight is interrupted: a lower limit takes effect as they leave. Requests that are
    /// admitted from now on are measured as the new limit needs it. The bounds set with
    /// [`bound_limit`](Self::bound_limit) stay.
    pub fn replace_limit(&self, limit: impl Limit + 'static) {
        let limit = Box::new(limit);
        self.door.hall().change(self.door.now(), |machine| machine.replace_limit(limit));
    }

    /// Keeps the limit in `min..=max` from now on, whatever its algorithm says.
    ///
    /// Numbers that are no bounds are brought to the nearest that are: `min` to 1..=1 000 000, `max`
    /// to `min`..=1 000 000. The same number twice pins the limit; `1..=1_000_000` sets it free.
    pub fn bound_limit(&self, min: usize, max: usize) {
        self.door.hall().change(self.door.now(), |machine| machine.bound_limit(min, max));
    }

    /// The bounds of the limit; 1 and 1 000 000 where none were chosen.
    #[must_use]
    pub fn limit_bounds(&self) -> (usize, usize) {
        self.door.hall().inspect(Machine::limit_bounds)
    }

    /// Starts the limit from this number, if its algorithm has a state to start from. It is meant
    /// for a gate that nobody has entered yet.
    pub fn start_limit_at(&self, initial: usize) {
        self.door.hall().change(self.door.now(), |machine| machine.start_limit_at(initial));
    }

    /// What the limit of this moment needs measured of each request.
    #[must_use]
    pub fn metering(&self) -> Metering {
        self.door.hall().metering()
    }

    /// Bounds the queue anew.
    ///
    /// Whoever waits beyond a shorter bound is turned away.
    pub fn bound_queue(&self, queue: QueueBounds) {
        self.door.hall().change(self.door.now(), |machine| machine.bound_queue(queue));
    }

    /// Admits no newcomer from now on, for a process that is about to end: each is told to come back
    /// in a second, when another process can serve it. Requests that wait or are in flight are served to
    /// their end; [`snapshot`](Self::snapshot) tells how many they are. There is no way back.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backpressure_gate::{Gate, QueueBounds};
    ///
    /// let gate = Gate::fixed(8, QueueBounds::default());
    /// gate.drain();
    /// let shed = gate.try_enter().expect_err("nobody enters any more");
    /// assert_eq!(shed.retry_after, Duration::from_secs(1));
    /// ```
    pub fn drain(&self) {
        self.door.hall().change(self.door.now(), Machine::drain);
    }

    /// A moment on this gate's own scale, for [`Arrival::deadline`].
    #[must_use]
    pub fn timestamp(&self, at: Instant) -> Timestamp {
        self.door.timestamp(at)
    }
}

fn workers() -> usize {
    let runtime = tokio::runtime::Handle::try_current();
    let workers = runtime.map(|handle| handle.metrics().num_workers());
    workers
        .unwrap_or_else(|_| std::thread::available_parallelism().map_or(1, usize::from))
        .clamp(1, 4_096)
}
