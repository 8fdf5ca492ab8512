//! What became of an attempt.

/// How a finished attempt ended, as far as a limit cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Useful work was done: its latency says what the service can do.
    Success,
    /// The work was refused or ran out of time further down: too much was asked for.
    Overload,
    /// Says nothing about capacity: a fast failure must never look like fast service.
    Ignore,
    /// The caller left before the answer, or the work was called off: it took at least this long,
    /// and a place was held for nothing.
    Cancelled,
}

impl Outcome {
    /// Whether the latency is that of work done, or of work refused: of nothing that failed, and of
    /// nothing that was cut short.
    #[must_use]
    pub const fn tells_latency(self) -> bool {
        matches!(self, Self::Success | Self::Overload)
    }
}
