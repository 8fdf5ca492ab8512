//! One run of the simulation: what was measured.

use serde::Serialize;

/// One controller in one scenario with one seed, judged.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: String,
    pub(crate) controller: String,
    pub(crate) seed: u64,
    #[serde(flatten)]
    pub(crate) score: Score,
}

/// The figures. All of them after the scenario's warm-up; work-weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Score {
    /// Useful work over what a clairvoyant could have done with the same draws.
    pub(crate) goodput_over_ceiling: f64,
    /// The same for the class that fared worst.
    pub(crate) worst_class: f64,
    /// 99th percentile of answered attempts over that of the same requests alone in the system.
    pub(crate) p99_over_uncontended: f64,
    /// Share of all requests that were refused although a clairvoyant would have served them.
    pub(crate) false_reject: f64,
    /// Seconds from the scenario's (last) change until goodput stays at .95 of the ceiling;
    /// `None`: nothing changes, or never.
    pub(crate) converge_s: Option<f64>,
    /// Share of the work done that nobody waited for.
    pub(crate) wasted: f64,
    /// Attempts a request.
    pub(crate) attempts: f64,
    /// Jain's index over the tenants' goodput, each over its fair share.
    pub(crate) fairness: f64,
    /// Mean of |limit / knee − 1| where the scenario knows its knee, else 0.
    pub(crate) limit_error: f64,
    /// Share of promised returns (Retry-After obeyed to the letter) that were admitted.
    pub(crate) kept_promises: Option<f64>,
}
