//! The figures of one herd.

use serde::Serialize;

/// One kind of server and one kind of client, and what came of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct HerdOutcome {
    pub(crate) server: &'static str,
    pub(crate) client: &'static str,
    /// Seconds until every request was served whose client did not give up.
    pub(crate) drain_s: f64,
    /// The same over the time that spare capacity allows.
    pub(crate) drain_over_ideal: f64,
    /// Attempts per request of the herd.
    pub(crate) attempts: f64,
    /// Share of the first retries that were admitted.
    pub(crate) first_retry: f64,
    /// Share of the herd that was never served.
    pub(crate) lost: f64,
    /// Share of the other requests that were rejected while the herd was not served yet.
    pub(crate) others_refused: f64,
    /// Whether both sides are what the library does.
    pub(crate) ours: bool,
}
