//! How an attempt ended.

/// How a finished attempt ended, as far as it matters to a limit.
///
/// ```
/// use backpressure_core::{Outcome, Sample};
/// use std::time::Duration;
///
/// let sample = Sample::new(Duration::from_millis(8), Outcome::Success);
/// assert!(sample.outcome.tells_latency());
/// assert!(!Outcome::Failure.tells_latency());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Useful work was done: its latency shows what the service can do.
    Success,
    /// The work was rejected, or timed out, because of load.
    Overload,
    /// No useful response, for a reason that need not be load: an error, or a rejection by a dependency. It
    /// held a permit in vain, and its latency is that of no work.
    Failure,
    /// Not to be learnt from: neither its latency nor its permit counts.
    Ignore,
    /// The caller left before the response, or the work was cancelled: it took at least this long, and held a
    /// permit in vain. A [`Controller`](crate::Controller) tells its limit of [`Ignore`](Self::Ignore) instead where the
    /// caller left sooner than a response takes.
    Cancelled,
}

impl Outcome {
    /// Whether the latency is that of work that ended by itself: of success or overload, not of an attempt
    /// that failed or was cancelled.
    #[must_use]
    pub const fn tells_latency(self) -> bool {
        matches!(self, Self::Success | Self::Overload)
    }
}
