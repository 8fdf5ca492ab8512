//! What one finished attempt teaches.

use std::time::Duration;

use crate::outcome::Outcome;

/// The measurements of one finished attempt: from admission to the head of the answer.
///
/// Never the wait in our own queue, never a retry's pause, never the transfer of a body: a limit
/// that times those chases its own tail.
///
/// ```
/// use backpressure_core::{Outcome, Sample};
/// use std::time::Duration;
///
/// let sample = Sample {
///     run_queue: Duration::from_millis(3),
///     busy: Duration::from_millis(5),
///     in_flight: 2,
///     ..Sample::new(Duration::from_millis(8), Outcome::Success)
/// };
/// assert_eq!(sample.useful(), Duration::from_millis(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// From admission to the head of the answer.
    pub latency: Duration,
    /// The part of `latency` spent runnable but not run: woken, waiting for a worker.
    pub run_queue: Duration,
    /// The part of `latency` spent on a worker.
    pub busy: Duration,
    /// How many were in flight at admission, this one included.
    pub in_flight: usize,
    /// How many attempts this one stands for: k where one in k is measured.
    pub weight: u32,
    /// How it ended.
    pub outcome: Outcome,
}

impl Sample {
    /// An attempt that took `latency`, alone in flight, with nothing known of how it was spent.
    #[must_use]
    pub const fn new(latency: Duration, outcome: Outcome) -> Self {
        Self {
            latency,
            run_queue: Duration::ZERO,
            busy: Duration::ZERO,
            in_flight: 1,
            weight: 1,
            outcome,
        }
    }

    /// Latency without the time lost waiting for a worker.
    #[must_use]
    pub const fn useful(&self) -> Duration {
        self.latency.saturating_sub(self.run_queue)
    }
}
