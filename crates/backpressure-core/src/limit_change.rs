//! Why a limit is what it is: its last change, and the measurements behind it.

use std::fmt;

use crate::time::Timestamp;

/// A change of a limit.
///
/// Its `Display` is a sentence for the log: `limit 15 → 17: between 15.0 and 18.0 in flight, …`.
///
/// ```
/// use backpressure_core::{Adaptive, Limit};
///
/// let limit = Adaptive::new(4);
/// match limit.last_change() {
///     Some(change) => println!("{change}"),
///     None => println!("the limit has not changed yet"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LimitChange {
    /// When it changed.
    pub at: Timestamp,
    /// The limit before.
    pub from: usize,
    /// The limit after.
    pub to: usize,
    /// Why it changed.
    pub cause: Cause,
}

/// The measurements that a change rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// Requests were ready to run and waited for a worker.
    RunQueue {
        /// The share of their latency that they waited.
        waited: f64,
        /// How many did useful work at once, by Little's law.
        useful: f64,
    },
    /// Two limits were compared.
    Experiment {
        /// The lower and the higher limit.
        limits: (f64, f64),
        /// Per cent of latency for each per cent of limit: at 0 the difference of the limits did work, at 1
        /// it only waited.
        elasticity: f64,
        /// Its standard error.
        error: f64,
    },
    /// Latency changed, so that what was known no longer holds.
    Change {
        /// Mean latency now and before, in seconds.
        latency: (f64, f64),
    },
    /// A service behind this one rejected work.
    Pushback {
        /// The share of attempts that were rejected.
        rejected: f64,
    },
    /// Demand rose above capacity, or fell below it again.
    Demand {
        /// Whether it is above capacity now.
        overloaded: bool,
    },
    /// Demand is far below the limit.
    Idle,
    /// The limit was reached while hardly any attempt ended and the workers were idle.
    Stalled,
    /// Most callers left before their response.
    Abandoned {
        /// The share of attempts without a response.
        share: f64,
    },
}

impl fmt::Display for LimitChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {} → {}: {}", self.from, self.to, self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RunQueue { waited, useful } => write!(
                f,
                "{:.0} % of the latency was waiting for a worker, {useful:.1} did useful work",
                100.0 * waited
            ),
            Self::Experiment { limits: (low, high), elasticity, error } => write!(
                f,
                "between {low:.1} and {high:.1} in flight, {elasticity:.2} ± {error:.2} of the \
                 difference waited"
            ),
            Self::Change { latency: (now, usual) } => {
                write!(f, "latency is {now:.4} s and was {usual:.4} s")
            }
            Self::Pushback { rejected } => {
                write!(f, "{:.0} % were rejected by a service behind this one", 100.0 * rejected)
            }
            Self::Demand { overloaded: true } => write!(f, "demand is above capacity"),
            Self::Demand { overloaded: false } => {
                write!(f, "demand is no longer above capacity")
            }
            Self::Idle => write!(f, "demand is far below the limit"),
            Self::Stalled => write!(f, "hardly any attempt ended, and the workers were idle"),
            Self::Abandoned { share } => {
                write!(f, "{:.0} % of the callers left before their response", 100.0 * share)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_displays_its_measurements() {
        let cause = Cause::Experiment { limits: (15.0, 18.0), elasticity: 0.2, error: 0.1 };
        let change = LimitChange { at: Timestamp::ZERO, from: 15, to: 17, cause };
        assert_eq!(
            change.to_string(),
            "limit 15 → 17: between 15.0 and 18.0 in flight, 0.20 ± 0.10 of the difference waited"
        );
    }
}
