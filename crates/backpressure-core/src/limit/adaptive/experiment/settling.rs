//! What a change of the limit leaves behind.

use super::MAX_RECENT_SAMPLES;

/// Attempts that have to end after a change of the limit: those that follow have seen no other one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    limit: f64,
    /// Attempts that were in flight beyond the limit.
    beyond: f64,
    turnovers: Turnovers,
    /// How much latencies varied before the change.
    spread: f64,
    ended: f64,
    is_over: bool,
}

/// How many turnovers of the limit have to end.
#[derive(Clone, Copy, Debug)]
struct Turnovers {
    least: f64,
    /// For each unit of `1 + spread`: more where a few attempts take long.
    by_spread: f64,
}

/// Nothing has been measured yet.
const FIRST: Turnovers = Turnovers { least: 1.0, by_spread: 0.0 };
/// Where all attempts take nearly as long, the last one that was admitted under the old limit leaves the queue of a pool
/// after a whole turnover, and later where connections are being opened.
const DOWN: Turnovers = Turnovers { least: 1.2, by_spread: 0.7 };
/// More upwards: of requests admitted together, the first to end are the short ones.
const UP: Turnovers = Turnovers { least: 1.4, by_spread: 1.4 };
/// Spread counts for no more: where one request in thousands takes thousands of times as long, a step would need hours.
pub(super) const MAX_SPREAD: f64 = 9.0;

impl Settling {
    pub(super) const fn first(limit: f64) -> Self {
        Self { limit, beyond: 0.0, turnovers: FIRST, spread: 0.0, ended: 0.0, is_over: false }
    }

    /// After a step up to this limit, where latencies are exponential.
    pub(super) const fn up(limit: f64) -> Self {
        Self { turnovers: UP, spread: 1.0, ..Self::first(limit) }
    }

    pub(super) fn between(from: f64, to: f64, spread: f64) -> Self {
        let turnovers = if to > from { UP } else { DOWN };
        Self { beyond: (from - to).max(0.0), turnovers, spread, ..Self::first(to) }
    }

    pub(super) fn ended(&mut self, attempts: f64) {
        self.ended += attempts;
    }

    /// Whether more has to end, where the latencies of late vary so much. What varied more before is past once all of
    /// them are of attempts that have ended since.
    pub(super) fn goes_on(&mut self, spread: f64) -> bool {
        let spread = match self.ended >= MAX_RECENT_SAMPLES {
            true => spread.min(self.spread),
            false => self.spread,
        };
        let Turnovers { least, by_spread } = self.turnovers;
        let turnovers = (by_spread * (1.0 + spread.min(MAX_SPREAD))).max(least);
        self.is_over |= self.ended >= self.beyond + turnovers * self.limit;
        !self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts that end until a limit has settled, where latencies varied as much as that before and now.
    fn attempts(mut settling: Settling, now: f64) -> u32 {
        let mut attempts = 0;
        while settling.goes_on(now) {
            settling.ended(1.0);
            attempts += 1;
        }
        attempts
    }

    #[test]
    fn what_was_in_flight_beyond_a_lower_limit_ends_first() {
        assert_eq!(attempts(Settling::between(100.0, 50.0, 0.0), 0.0), 50 + 60);
        assert_eq!(attempts(Settling::between(50.0, 100.0, 0.0), 0.0), 140);
    }

    #[test]
    fn a_variation_that_is_past_counts_until_none_of_the_latencies_of_late_is_older() {
        assert_eq!(attempts(Settling::between(1_500.0, 3_000.0, 4.0), 4.0), 21_000);
        assert_eq!(attempts(Settling::between(1_500.0, 3_000.0, 4.0), 0.0), 4_200);
        assert_eq!(attempts(Settling::between(15.0, 30.0, 4.0), 0.0), 210);
    }
}
