//! One request while a canary runs.

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::canary::Part;
use super::set::PolicySet;

/// One request while a canary runs. Dropped without a response, it counts as one that took that long.
pub(super) struct Sample {
    set: PolicySet,
    part: Part,
    since: Instant,
    is_recorded: bool,
}

impl Sample {
    pub(super) fn new(set: &PolicySet, part: Part) -> Self {
        Self { set: set.clone(), part, since: Instant::now(), is_recorded: false }
    }

    /// The request has ended with this response, or with an error.
    pub(super) fn record(mut self, response: Option<(StatusCode, &HeaderMap)>) {
        self.is_recorded = true;
        self.follow(self.part.ended(self.since.elapsed(), response));
    }

    /// Ends the canary if this request has decided about it.
    fn follow(&self, verdict: Option<Result<(), String>>) {
        if let Some(verdict) = verdict {
            self.set.end_canary(self.part.canary(), verdict);
        }
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.follow(self.part.abandoned(self.since.elapsed()));
        }
    }
}
