//! Why a limit is what it is: the last move, and the numbers it rests on.

use std::fmt;

use crate::time::Timestamp;

/// A move of a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LimitChange {
    /// When it was made.
    pub at: Timestamp,
    /// The limit before.
    pub from: usize,
    /// The limit after.
    pub to: usize,
    /// What it rests on.
    pub cause: Cause,
}

/// The numbers that a move rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// Requests waited for a worker here.
    RunQueue {
        /// The share of their latency.
        waited: f64,
        /// How many did useful work at once, by Little's law.
        useful: f64,
    },
    /// Two limits were compared.
    Experiment {
        /// The lower one, and the higher one.
        limits: (f64, f64),
        /// Per cent of latency for a per cent of limit: 0, all of it was used; 1, all of it waited.
        elasticity: f64,
        /// One standard deviation of it.
        error: f64,
    },
    /// Latency is another than it was: what was known no longer holds.
    Change {
        /// Mean latency, in seconds, over what was usual.
        latency: (f64, f64),
    },
    /// Work was refused further down.
    Pushback {
        /// The share of attempts.
        refused: f64,
    },
    /// Demand has risen above capacity, or has fallen below it again.
    Demand {
        /// Whether it is above.
        overloaded: bool,
    },
    /// Little is asked for.
    Idle,
    /// The limit was reached while nothing was answered and the workers were idle.
    Stalled,
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
            Self::Pushback { refused } => {
                write!(f, "{:.0} % were refused further down", 100.0 * refused)
            }
            Self::Demand { overloaded: true } => write!(f, "more is asked for than can be done"),
            Self::Demand { overloaded: false } => {
                write!(f, "no more is asked for than can be done")
            }
            Self::Idle => write!(f, "little is asked for"),
            Self::Stalled => write!(f, "nothing was answered, and no worker was busy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_says_what_it_rests_on() {
        let cause = Cause::Experiment { limits: (15.0, 18.0), elasticity: 0.2, error: 0.1 };
        let decision = LimitChange { at: Timestamp::ZERO, from: 15, to: 17, cause };
        assert_eq!(
            decision.to_string(),
            "limit 15 → 17: between 15.0 and 18.0 in flight, 0.20 ± 0.10 of the difference waited"
        );
    }
}
