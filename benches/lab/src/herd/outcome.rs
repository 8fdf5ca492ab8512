//! The figures of the herds.

use serde::Serialize;
use std::fmt::Write;

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
}

/// The herds as a table.
pub(crate) fn render(outcomes: &[HerdOutcome]) -> String {
    let mut text = format!(
        "{:<32} {:<32} {:>8} {:>8} {:>9} {:>12} {:>9} {:>9}\n",
        "the server says",
        "the clients wait",
        "served",
        "/ ideal",
        "attempts",
        "first retry",
        "never",
        "others"
    );
    for outcome in outcomes {
        writeln!(
            text,
            "{:<32} {:<32} {:>6.1} s {:>8.2} {:>9.2} {:>10.1} % {:>7.1} % {:>7.1} %",
            outcome.server,
            outcome.client,
            outcome.drain_s,
            outcome.drain_over_ideal,
            outcome.attempts,
            outcome.first_retry * 100.0,
            outcome.lost * 100.0,
            outcome.others_refused * 100.0
        )
        .expect("writing to a string does not fail");
    }
    text
}
