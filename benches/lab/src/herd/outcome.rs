//! What became of a herd.

use serde::Serialize;

/// One server's word, one kind of caller, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct HerdOutcome {
    pub(crate) server: &'static str,
    pub(crate) client: &'static str,
    /// Seconds until all that did not give up were served.
    pub(crate) drain_s: f64,
    /// Over what spare capacity allows.
    pub(crate) drain_over_ideal: f64,
    /// Attempts a caller of the herd.
    pub(crate) attempts: f64,
    /// Of those who came back for the first time, the share that was admitted.
    pub(crate) first_retry: f64,
    /// Share of the herd that was never served.
    pub(crate) lost: f64,
    /// Of those who came meanwhile and were not of the herd, the share that was refused.
    pub(crate) others_refused: f64,
    /// Whether it is what ships, on both sides.
    pub(crate) ours: bool,
}
