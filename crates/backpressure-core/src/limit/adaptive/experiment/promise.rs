//! What a knee promises.

use std::f64::consts::LN_2;

use super::super::cohort::Cohort;

/// What a knee has to keep, or it was none.
///
/// A service that becomes slower while the rate of requests stays the same has more in flight in proportion, by
/// Little's law, and looks like a queue. Below what was taken for its knee attempts are then not faster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// How long an attempt takes that does not wait.
    pub(super) seconds: f64,
    /// The number in flight at which attempts waited.
    pub(super) most: f64,
}

/// Attempts at a knee that take this much longer than promised, in logarithm, by so many standard errors: it was none.
const BROKEN_LN: f64 = LN_2;
const DEVIATIONS: f64 = 2.0;
/// Attempts which that rests on at least, and the least spread of a latency: a few that happen to take the same time do
/// not make the next one certain.
const MIN_SAMPLES: f64 = 4.0;
const MIN_SPREAD: f64 = 0.5;

impl Promise {
    /// The limit to go on at, if the attempts at this one show that it is no knee. The knee is then higher by as much as
    /// they take longer.
    pub(super) fn broken(&self, limit: f64, seen: &Cohort) -> Option<f64> {
        let slower = seen.cost() / self.seconds;
        let error = (seen.spread().max(MIN_SPREAD) / seen.count()).sqrt();
        let is_broken = seen.count() >= MIN_SAMPLES && slower.ln() - DEVIATIONS * error > BROKEN_LN;
        is_broken.then_some((slower * limit).min(self.most))
    }
}
