//! Tells a flood of retries from ordinary overload.

use std::time::Duration;

use crate::time::Timestamp;

/// Counts the requests that find the limit reached against the throughput of the service. More than
/// [`FLOOD_TIMES`] it are a sign of a flood, and rejections are delayed.
///
/// Callers that retry at once then come no more often than their rejections are answered. Requests that come in groups
/// give the same sign, from a process that is paused now and then or in batches, but no fewer come. So delays end
/// after a while: only if then many more come than before was it a flood.
#[derive(Debug, Default)]
pub(crate) struct FloodDetector {
    /// Requests that found the limit reached, each weighing less the longer ago it came.
    recent: f64,
    /// The same, over a second.
    in_a_second: f64,
    updated: Timestamp,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Calm,
    /// Rejections are delayed; `most`: of what came in a second meanwhile.
    Delaying { until: Timestamp, most: f64 },
    /// They are delayed no longer.
    Watching { until: Timestamp, most: f64 },
}

/// How long rejections are delayed at the first sign: twice as long as one of them, so that callers have come back.
const FIRST_DELAYS: Duration = Duration::from_secs(2);
/// How long they are delayed in a flood, until the detector looks again. A look costs as many rejections as callers
/// retry at once.
const FLOOD_DELAYS: Duration = Duration::from_secs(30);
/// More than this many times what comes with delays is a flood. Callers that retry at once come at least twice as often
/// without, unless they are further away than the delay is long.
const TIMES_WITH_DELAYS: f64 = 2.0;
/// How long what came with delays is remembered after the last sign of a flood.
const MEMORY: Duration = Duration::from_secs(60);
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
        let Some(per_second) = per_second else { return self.phase = Phase::Calm };
        let responses =
            TIME_CONSTANT_RESPONSES + TIME_CONSTANT_BUSY_TIMES * busy.as_secs_f64() * per_second;
        let passed = now.since(self.updated).as_secs_f64();
        self.recent = self.recent * (-passed * per_second / responses).exp() + 1.0;
        self.in_a_second = self.in_a_second * (-passed).exp() + 1.0;
        self.updated = now;
        self.advance(self.recent >= FLOOD_TIMES * responses, now);
    }

    fn advance(&mut self, is_sign: bool, now: Timestamp) {
        match self.phase {
            Phase::Calm if is_sign => self.delay_for(FIRST_DELAYS, now),
            Phase::Calm => {}
            Phase::Delaying { until, most } if now < until => {
                self.phase = Phase::Delaying { until, most: most.max(self.in_a_second) };
            }
            Phase::Delaying { most, .. } => {
                self.phase = Phase::Watching { until: now + MEMORY, most };
            }
            Phase::Watching { most, .. } if is_sign => {
                if self.in_a_second > TIMES_WITH_DELAYS * most {
                    return self.delay_for(FLOOD_DELAYS, now);
                }
                self.phase = Phase::Watching { until: now + MEMORY, most };
            }
            Phase::Watching { until, .. } if now >= until => self.phase = Phase::Calm,
            Phase::Watching { .. } => {}
        }
    }

    /// Only what comes from now on is delayed, and counts.
    fn delay_for(&mut self, span: Duration, now: Timestamp) {
        self.in_a_second = 0.0;
        self.phase = Phase::Delaying { until: now + span, most: 0.0 };
    }

    /// Whether there was a flood at the last request that found the limit reached, as far as is known.
    pub(crate) const fn is_flood(&self) -> bool {
        matches!(self.phase, Phase::Delaying { .. })
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

    /// Whether there is a flood at the end of this many seconds in which groups come every tenth of a second.
    fn is_flood_after(flood: &mut FloodDetector, group: u32, from: u64, seconds: u64) -> bool {
        for n in 0..10 * seconds {
            let at = Timestamp::ZERO + Duration::from_secs(from) + Duration::from_millis(100 * n);
            (0..group).for_each(|_| flood.limit_reached(Some(1_000.0), Duration::ZERO, at));
        }
        flood.is_flood()
    }

    #[test]
    fn what_comes_as_often_without_delays_is_no_flood_until_twice_as_many_come() {
        let mut flood = FloodDetector::default();
        assert!(is_flood_after(&mut flood, 200, 0, 1));
        assert!(!is_flood_after(&mut flood, 200, 1, 600));
        assert!(!is_flood_after(&mut flood, 340, 601, 60));
        assert!(is_flood_after(&mut flood, 450, 661, 20), "more than with delays");
        assert!(!is_flood_after(&mut flood, 450, 681, 60), "as many");
        // A minute without a sign, and what came before is forgotten.
        assert!(!is_flood_after(&mut flood, 10, 741, 62));
        assert!(is_flood_after(&mut flood, 200, 803, 1));
    }
}
