//! The figures of one simulated run.

use serde::Serialize;

/// The figures of one controller in one scenario with one seed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: String,
    pub(crate) controller: String,
    pub(crate) seed: u64,
    #[serde(flatten)]
    pub(crate) score: Score,
}

/// All figures are taken after the warm-up of the scenario and weighted by work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Score {
    /// Useful work over what the clairvoyant did with the same requests.
    pub(crate) goodput_over_ceiling: f64,
    /// The same for the class with the lowest share.
    pub(crate) worst_class: f64,
    /// 99th percentile of the latency of answered attempts over that of the same requests, each alone in the
    /// system.
    pub(crate) p99_over_uncontended: f64,
    /// Share of all requests that were rejected while the clairvoyant was nearly idle.
    pub(crate) false_reject: f64,
    /// Seconds from the last change of the scenario until goodput stays at .95 of the ceiling; `None`: nothing
    /// changes, or goodput never gets there.
    pub(crate) converge_s: Option<f64>,
    /// Share of the work done for which no client was waiting any more.
    pub(crate) wasted: f64,
    /// Attempts per request.
    pub(crate) attempts: f64,
    /// Jain's index over the goodput of the tenants, each over its fair share.
    pub(crate) fairness: f64,
    /// Mean of |limit / knee − 1| while demand is above capacity; 0 if it never is.
    pub(crate) limit_error: f64,
    /// Share of the attempts sent exactly when `Retry-After` said that were admitted.
    pub(crate) kept_promises: Option<f64>,
    /// Share of the requests of clients that retry when told that were answered, by work; `None`: all clients do, or
    /// none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) obedient: Option<f64>,
}
