//! How many requests may run at once: the trait, and one file for each algorithm.

use std::fmt;

use crate::limit_change::LimitChange;
use crate::sample::Sample;
use crate::time::Timestamp;

pub mod adaptive;
pub mod aimd;
mod bounded;
pub(crate) mod clamped;
pub mod fixed;

/// The highest limit: the counter of a limiter holds this many with room to spare.
pub const MAX: usize = 1_000_000;

/// An attempt that was admitted with this share of the limit in flight ran at the limit. At 1 a limit with
/// a queue would count few attempts, as a permit is free for a moment between two requests; much lower, and
/// attempts below the limit would count.
const NEARLY_FULL: f64 = 0.9;

/// Whether an attempt ran while this limit was reached.
pub(crate) fn ran_at(sample: &Sample, limit: f64) -> bool {
    sample.in_flight as f64 >= NEARLY_FULL * limit
}

/// A limit as a number of requests. `f64::round` is a function call on many processors.
pub(crate) fn rounded(limit: f64) -> usize {
    (limit + 0.5) as usize
}

/// Sets how many attempts may run at once.
///
/// An algorithm is a plain state machine: it is told what each finished attempt measured and says what the
/// limit is from now on. It has no clock and takes no lock, so that it runs the same in a test, in a
/// simulation and behind a limiter.
///
/// ```
/// use backpressure_core::{Limit, Outcome, Sample, Timestamp};
///
/// /// One less for every overload, never below one.
/// #[derive(Debug)]
/// struct Decreasing(usize);
///
/// impl Limit for Decreasing {
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
    /// How many may run at once from now on. A controller clamps any number to 1..=1 000 000.
    fn limit(&self) -> usize;

    /// Learns from an attempt that finished at `now`.
    fn observe(&mut self, sample: &Sample, now: Timestamp);

    /// An attempt finished whose permit counted apart, because it only waited; see
    /// [`Controller::silence`](crate::Controller::silence).
    fn observe_apart(&mut self, _sample: &Sample) {}

    /// Demand has risen above capacity, or has fallen below it again, as far as the controller can
    /// tell. Only while it is above does a limit that is too low cost anything.
    fn demand(&mut self, _overloaded: bool, _now: Timestamp) {}

    /// The last change of the limit, and its cause; `None`: there was none, or the algorithm does not say.
    fn last_change(&self) -> Option<LimitChange> {
        None
    }

    /// How many workers run the requests, which bounds what they can compute; `None`: unknown.
    fn workers(&self) -> Option<usize> {
        None
    }

    /// What has to be measured for [`observe`](Self::observe).
    fn metering(&self) -> Metering {
        Metering::Latency
    }

    /// An operator bounds the limit; `min` is in 1..=`max`, and `max` at most 1 000 000. A controller
    /// clamps [`limit`](Self::limit) in any case. An algorithm that knows the bounds does not search outside
    /// of them.
    fn bound(&mut self, _min: usize, _max: usize) {}

    /// Starts again from this limit, if the algorithm has a limit to start from. Called before the first
    /// request.
    fn start_at(&mut self, _initial: usize) {}

    /// Whether the limit is known to protect the service: queueing was measured at it, or above it. As long
    /// as it is not, and the limit rises, a request that finds it reached is queued for as long as the
    /// queue allows, and is not rejected because of overload.
    fn is_known(&self) -> bool {
        true
    }

    /// The limit was reached for some time in which hardly any attempt ended and the workers were idle.
    fn stalled(&mut self, _now: Timestamp) {}

    /// Whether most callers leave before their response at the limit in force. What waits in the queue has least time
    /// left then, so that the newest request runs first.
    fn is_in_vain(&self) -> bool {
        false
    }

    /// Whether an attempt that only waits counts towards the limit however long it waits. If not, it counts
    /// apart after a while; see [`Controller::silence`](crate::Controller::silence). A body whose reader
    /// has not asked for more does so in any case.
    fn counts_waiting(&self) -> bool {
        true
    }

    /// Whether an admitted request should yield once before it runs, so that requests that arrived with it
    /// are read and counted first. Otherwise a handler that never awaits hides its queue from any limit.
    fn yields(&self) -> bool {
        false
    }
}

/// What a limit needs measured of each attempt, from the cheapest on.
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
