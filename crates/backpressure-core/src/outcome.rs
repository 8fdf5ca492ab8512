//! What became of an attempt.

/// How a finished attempt ended, as far as a limit cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Useful work was done: its latency says what the service can do.
    Success,
    /// The work was refused or ran out of time further down: too much was asked for.
    Overload,
    /// No useful answer, for a reason that need not be load: an error, or a refusal by a dependency.
    /// It held a place in vain, and its latency is that of no work.
    Failure,
    /// Says nothing at all: neither its latency nor its place counts.
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
