//! How many may run at once: the seam, and one file an algorithm.

use std::fmt;

use crate::limit_change::LimitChange;
use crate::sample::Sample;
use crate::time::Timestamp;

pub mod adaptive;
pub mod aimd;
mod bounded;
pub(crate) mod clamped;
pub mod fixed;

/// The highest limit there is: what a gate's counter can hold with room to spare.
pub const MAX: usize = 1_000_000;

/// An attempt that was admitted with this share of the limit in flight ran at the limit.
const NEARLY_FULL: f64 = 0.9;

/// Whether an attempt ran while this limit was reached.
pub(crate) fn ran_at(sample: &Sample, limit: f64) -> bool {
    sample.in_flight as f64 >= NEARLY_FULL * limit
}

/// Sets how many attempts may run at once.
///
/// An algorithm is a plain state controller: it is told what each finished attempt measured and says
/// what the limit is from now on. It owns no clock and takes no lock, so it can be stepped by hand
/// in a test, run in a simulation and driven by a gate without knowing which.
///
/// ```
/// use backpressure_core::{Limit, Outcome, Sample, Timestamp};
///
/// /// One less for every overload, never below one.
/// #[derive(Debug)]
/// struct Timid(usize);
///
/// impl Limit for Timid {
///     fn limit(&self) -> usize {
///         self.0
///     }
///
///     fn observe(&mut self, sample: &Sample, _now: Timestamp) {
///         if sample.outcome == Outcome::Overload {
///             self.0 = (self.0 - 1).max(1);
///         }
///     }
/// }
/// ```
pub trait Limit: fmt::Debug + Send {
    /// How many may run at once from now on. A controller takes any number for the nearest one in
    /// 1..=1 000 000.
    fn limit(&self) -> usize;

    /// Learns from an attempt that finished at `now`.
    fn observe(&mut self, sample: &Sample, now: Timestamp);

    /// An attempt finished whose place counted apart, because it only waited.
    fn observe_apart(&mut self, _sample: &Sample) {}

    /// Demand has risen above capacity, or has fallen below it again, as far as the controller can
    /// tell. Only while it is above does anybody suffer from a limit that is too low.
    fn demand(&mut self, _overloaded: bool, _now: Timestamp) {}

    /// The last move, and why it was made; `None`: there was none, or nothing is said.
    fn last_change(&self) -> Option<LimitChange> {
        None
    }

    /// How many workers run the requests, which bounds what they can compute; `None`: nobody knows.
    fn workers(&self) -> Option<usize> {
        None
    }

    /// What has to be measured for [`observe`](Self::observe).
    fn metering(&self) -> Metering {
        Metering::Latency
    }

    /// An operator bounds the limit; `min` is in 1..=`max`, and `max` at most 1 000 000. A controller
    /// clamps what [`limit`](Self::limit) answers in any case. An algorithm that is told can also keep
    /// from searching outside the bounds.
    fn bound(&mut self, _min: usize, _max: usize) {}

    /// Starts again from this limit, as far as the algorithm has a state to start from. Said before
    /// the first request.
    fn start_at(&mut self, _initial: usize) {}

    /// Whether the limit is known to protect something: queueing was measured at it, or above it. As
    /// long as it is not, a request that finds it reached waits for as long as the queue allows, and is
    /// not refused because of overload.
    fn is_known(&self) -> bool {
        true
    }

    /// The limit was reached for some time in which nothing was answered and the workers were idle.
    fn stalled(&mut self, _now: Timestamp) {}

    /// Whether a request that waits for something counts however long it waits. If not, it counts apart
    /// after a while, as a body does in any case of which the reader has not asked for more.
    fn counts_waiting(&self) -> bool {
        true
    }

    /// Whether an admitted request should yield once before it runs, so that whoever came with it
    /// is read and counted first. A handler that never awaits hides its queue from any limit
    /// otherwise.
    fn yields(&self) -> bool {
        false
    }
}

/// What a limit needs measured of each attempt; less is cheaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Metering {
    /// Nothing: the limit does not learn.
    Nothing,
    /// Latency, in-flight and outcome.
    Latency,
    /// Also the time spent runnable but not run, and the time spent on a worker.
    RunQueue,
}
