//! The measurements of one finished attempt.

use std::time::Duration;

use crate::outcome::Outcome;

/// The measurements of one finished attempt, from admission to the head of the response.
///
/// Time in the queue of the limiter, pauses between retries and the transfer of a body are not part of it:
/// a limit that measured them would react to its own effects.
///
/// ```
/// use backpressure_core::{Outcome, Sample};
/// use std::time::Duration;
///
/// let sample = Sample::new(Duration::from_millis(8), Outcome::Success)
///     .run_queue(Duration::from_millis(3))
///     .busy(Duration::from_millis(5))
///     .in_flight(2);
/// assert_eq!(sample.useful(), Duration::from_millis(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// Time from admission to the head of the response.
    pub latency: Duration,
    /// The part of `latency` spent runnable but not run: woken, waiting for a worker.
    pub run_queue: Duration,
    /// The part of `run_queue` that the service itself has marked as waiting for something scarce.
    pub marked: Duration,
    /// The part of `latency` spent on a worker.
    pub busy: Duration,
    /// Attempts in flight at admission, this one included.
    pub in_flight: usize,
    /// Attempts in flight at the end, this one included.
    pub in_flight_at_end: usize,
    /// Attempts in flight at admission in other limiters that share a total with its own.
    pub in_flight_elsewhere: usize,
    /// Attempts that this one stands for: k where one in k is measured.
    pub weight: u32,
    /// Units of the limit that the attempt held.
    pub cost: u32,
    /// How it ended.
    pub outcome: Outcome,
}

impl Sample {
    /// An attempt that took `latency`, with no other in flight and no measurement of how it was spent.
    #[must_use]
    pub const fn new(latency: Duration, outcome: Outcome) -> Self {
        Self {
            latency,
            run_queue: Duration::ZERO,
            marked: Duration::ZERO,
            busy: Duration::ZERO,
            in_flight: 1,
            in_flight_at_end: 1,
            in_flight_elsewhere: 0,
            weight: 1,
            cost: 1,
            outcome,
        }
    }

    /// The same attempt with this time in the run queue.
    #[must_use]
    pub const fn run_queue(mut self, run_queue: Duration) -> Self {
        self.run_queue = run_queue;
        self
    }

    /// The same attempt with this part of its time in the run queue marked as waiting for something scarce.
    #[must_use]
    pub const fn marked(mut self, marked: Duration) -> Self {
        self.marked = marked;
        self
    }

    /// The same attempt with this time on a worker.
    #[must_use]
    pub const fn busy(mut self, busy: Duration) -> Self {
        self.busy = busy;
        self
    }

    /// The same attempt with this many in flight, from admission to the end.
    #[must_use]
    pub const fn in_flight(mut self, in_flight: usize) -> Self {
        self.in_flight = in_flight;
        self.in_flight_at_end = in_flight;
        self
    }

    /// The same attempt with this many in flight at its end.
    #[must_use]
    pub const fn in_flight_at_end(mut self, in_flight: usize) -> Self {
        self.in_flight_at_end = in_flight;
        self
    }

    /// The same attempt with this many in flight at admission in limiters that share a total with its own.
    #[must_use]
    pub const fn in_flight_elsewhere(mut self, in_flight: usize) -> Self {
        self.in_flight_elsewhere = in_flight;
        self
    }

    /// The same attempt, standing for this many.
    #[must_use]
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// The same attempt, having held this many units of the limit.
    #[must_use]
    pub const fn cost(mut self, units: u32) -> Self {
        self.cost = units;
        self
    }

    /// The same attempt for a limit that counts units: an attempt that holds k of them is k attempts that take as
    /// long as it, each with 1/k of its time on a worker. Then Little's law holds for units.
    #[must_use]
    pub(crate) fn per_unit(&self) -> Self {
        let units = self.cost.max(1);
        Self {
            busy: self.busy / units,
            weight: self.weight.saturating_mul(units),
            cost: 1,
            ..*self
        }
    }

    /// The same attempt with another outcome.
    #[must_use]
    pub const fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Latency without the time spent waiting for a worker.
    #[must_use]
    pub const fn useful(&self) -> Duration {
        self.latency.saturating_sub(self.run_queue)
    }
}
