//! Tells a flood of retries from ordinary overload.

use std::time::Duration;

use crate::time::Timestamp;

/// Counts the requests that find the limit reached against the throughput of the service.
#[derive(Debug, Default)]
pub(crate) struct FloodDetector {
    /// Requests that found the limit reached, each weighing less the longer ago it came.
    recent: f64,
    updated: Timestamp,
    is_flood: bool,
}

/// Time constant of that count, in the mean time between two responses. Shorter, and a handful of
/// requests in one packet would be a flood; longer, and it would be noticed after more requests.
const TIME_CONSTANT_RESPONSES: f64 = 2.0;
/// As many times longer is the time for which a request keeps a worker busy: the worker finds what arrives meanwhile in
/// one moment. It runs some requests in a row, and a scheduler may take the CPU from it for as long again. Without,
/// ten times the capacity is a flood where requests compute for 5 ms, and half of them are answered too late (storm).
const TIME_CONSTANT_BUSY_TIMES: f64 = 16.0;
/// More requests than this many times the throughput are a flood. Ten times makes half of the count, which by chance
/// hardly ever doubles; clients that retry at once pass it within one response.
const FLOOD_TIMES: f64 = 20.0;

impl FloodDetector {
    /// A request finds the limit of a service reached that finishes `per_second`, each of which keeps a worker `busy`.
    /// `None`: unknown.
    pub(crate) fn limit_reached(
        &mut self,
        per_second: Option<f64>,
        busy: Duration,
        now: Timestamp,
    ) {
        let Some(per_second) = per_second else { return };
        let responses =
            TIME_CONSTANT_RESPONSES + TIME_CONSTANT_BUSY_TIMES * busy.as_secs_f64() * per_second;
        let passed = now.since(self.updated).as_secs_f64() * per_second;
        self.recent = self.recent * (-passed / responses).exp() + 1.0;
        self.updated = now;
        self.is_flood = self.recent >= FLOOD_TIMES * responses;
    }

    /// Whether there was a flood at the last request that found the limit reached.
    pub(crate) const fn is_flood(&self) -> bool {
        self.is_flood
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether requests at this multiple of the throughput are a flood that come in groups, each in one moment.
    fn floods(times: f64, per_second: f64, group: u32, busy: Duration) -> bool {
        let mut flood = FloodDetector::default();
        (0..10_000).any(|n| {
            let at = Duration::from_secs_f64(f64::from(n / group * group) / (times * per_second));
            flood.limit_reached(Some(per_second), busy, Timestamp::ZERO + at);
            flood.is_flood()
        })
    }

    #[test]
    fn fifteen_times_the_throughput_is_ordinary_overload_and_twenty_five_times_a_flood() {
        for per_second in [5.0, 200.0, 20_000.0] {
            for busy in [Duration::ZERO, Duration::from_secs_f64(1.0 / per_second)] {
                let floods = |times| floods(times, per_second, 1, busy);
                assert!(!floods(15.0) && floods(25.0), "{per_second} a second, busy for {busy:?}");
            }
        }
    }

    #[test]
    fn requests_that_a_worker_finds_in_one_moment_after_it_was_busy_are_no_flood() {
        // Ten times the capacity, all that arrives in 40 ms at once.
        assert!(!floods(10.0, 200.0, 80, Duration::from_millis(5)));
        assert!(floods(10.0, 200.0, 80, Duration::ZERO));
    }
}
