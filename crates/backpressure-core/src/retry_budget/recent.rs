//! What was earned of late.

use std::time::Duration;

use crate::time::Timestamp;

/// How much first attempts have earned in about the last [`SAVED_EARNINGS`]: a sum in which a part loses all but 1/e of its
/// weight in that time.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecentEarnings {
    sum: f64,
    as_of: Timestamp,
}

/// The earnings of two seconds pay for the retries of a tenth of a second in which all attempts fail, and once more for those
/// of the retries: a connection that breaks, a replica that goes, the time until a cool-down takes a restart for one. With
/// those of ten seconds, an origin that is overloaded would get twice its load for a second.
const SAVED_EARNINGS: Duration = Duration::from_secs(2);

impl RecentEarnings {
    pub(super) const NONE: Self = Self { sum: 0.0, as_of: Timestamp::ZERO };

    /// Adds what was earned since the last call, at an even rate for all that is known.
    pub(super) fn add(&mut self, earned: u64, now: Timestamp) {
        let span = now.since(self.as_of).as_secs_f64() / SAVED_EARNINGS.as_secs_f64();
        self.as_of = self.as_of.max(now);
        // The integral of the weights over the span, and its limit for a short one.
        let weight = if span > 0.0 { -(-span).exp_m1() / span } else { 1.0 };
        self.sum = self.sum * (-span).exp() + earned as f64 * weight;
    }

    pub(super) const fn sum(&self) -> u64 {
        self.sum as u64
    }
}
