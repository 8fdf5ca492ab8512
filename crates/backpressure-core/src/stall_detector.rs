//! Detects a limit that is reached and protects nothing.

use std::time::Duration;

use crate::sample::Sample;
use crate::time::Timestamp;

/// Detects that the limit is reached while hardly any permit is released and the workers are idle.
///
/// The requests that hold the permits then wait for something else: a rejection protects nothing that can be
/// measured, and one more request does no harm.
#[derive(Debug, Default)]
pub(crate) struct StallDetector {
    /// When the limit was last seen not to be reached, or when it was last raised.
    since: Timestamp,
    /// Time that workers had spent on requests until then.
    worked: Duration,
    /// Attempts that have ended since then.
    ended: f64,
    /// Permit time of the attempts that ended of late, whether the limit was reached or not.
    recent: Recent,
    /// When the limit was last found to have stalled.
    last: Option<Stall>,
}

/// Seconds for which attempts held permits that ended within about one latency. Each counts for less as its end becomes
/// older.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    held: f64,
    at: Timestamp,
}

/// A stall: when it was, how many attempts ended in a second, and the longest latency of all but a few.
#[derive(Clone, Copy, Debug)]
struct Stall {
    at: Timestamp,
    rate: f64,
    long: Duration,
}

/// The state in which the limit is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) limit: usize,
    /// Whether the limit is known to protect something.
    pub(crate) known: bool,
    /// The longest latency of all but a few attempts; zero: none has ended.
    pub(crate) long: Duration,
    pub(crate) workers: usize,
}

/// Time after which a limit that is reached may have stalled. It is longer than the scheduler makes a task wait
/// on a busy machine, and a tenth of the default wait in the queue, so that the limit can grow a
/// thousandfold before the first queued request is rejected.
const STALLED_AFTER: Duration = Duration::from_millis(100);
/// Attempts that should have ended in that time, and the share of them below which the permits are held for
/// something else. A limit that is known to protect something needs more evidence, and two latencies of it: a
/// service that has just lost nine tenths of its capacity would lose more by a higher limit, and requests
/// that arrived together also end together.
const KNOWN_MIN_EXPECTED_AND_SHARE: (f64, f64) = (80.0, 1.0 / 16.0);
const UNKNOWN_MIN_EXPECTED_AND_SHARE: (f64, f64) = (8.0, 1.0 / 8.0);
/// A turnover of an unknown limit counts for no more: what is held for longer soon counts apart.
const MAX_UNKNOWN_TURNOVER: Duration = Duration::from_millis(300);
/// Attempts that ended longer ago say nothing of a stall, however long others take.
const MAX_RECENT_SPAN: Duration = Duration::from_secs(1);
/// Share of the permit time of late from which on the attempts that ended are most of what runs.
const MIN_HELD_SHARE: f64 = 0.5;
/// Workers that were busy for a smaller share of that time are idle.
const BUSY_WORKERS_SHARE: f64 = 0.5;
/// A limit that was doubled in vain is not doubled again: if attempts go on to end at nearly the same rate and take
/// longer, all of them wait for something that is scarce. So long is that remembered.
const DOUBLING_MEMORY: Duration = Duration::from_secs(5);
const MIN_RATE_FACTOR: f64 = 1.5;
const MIN_LATENCY_FACTOR: f64 = 1.25;

impl StallDetector {
    /// The limit is not reached: watching starts anew.
    pub(crate) fn clear(&mut self, worked: Duration, now: Timestamp) {
        (self.since, self.worked, self.ended) = (now, worked, 0.0);
    }

    /// Attempts have ended, where the longest latency of all but a few is `long`.
    pub(crate) fn ended(&mut self, sample: &Sample, long: Duration, now: Timestamp) {
        self.ended += f64::from(sample.weight);
        self.recent.fade(recent_span(long), now);
        self.recent.held += f64::from(sample.weight) * sample.latency.as_secs_f64();
    }

    /// The limit is reached. Returns whether it has protected nothing for long enough; watching starts anew then.
    pub(crate) fn is_over(&mut self, reached: Reached, worked: Duration, now: Timestamp) -> bool {
        let lasted = now.since(self.since);
        let (enough, share) = if reached.known {
            KNOWN_MIN_EXPECTED_AND_SHARE
        } else {
            UNKNOWN_MIN_EXPECTED_AND_SHARE
        };
        let turnovers = match reached.long.is_zero() {
            true => f64::INFINITY,
            false => lasted.div_duration_f64(reached.long),
        };
        let expected = reached.limit as f64 * turnovers;
        let turnover = match reached.known {
            true => 2 * reached.long,
            false => reached.long.min(MAX_UNKNOWN_TURNOVER),
        };
        if lasted < STALLED_AFTER.max(turnover) || expected < enough {
            return false;
        }
        let busy = worked.saturating_sub(self.worked).as_secs_f64();
        let idle = busy < BUSY_WORKERS_SHARE * reached.workers as f64 * lasted.as_secs_f64();
        let seen = Stall { at: now, rate: self.ended / lasted.as_secs_f64(), long: reached.long };
        let stalled = idle
            && self.ended < share * expected
            && (reached.known || !self.ends_account_for_the_limit(reached, now))
            && !self.was_doubled_in_vain(seen);
        if stalled {
            self.last = Some(seen);
        }
        self.clear(worked, now);
        stalled
    }

    /// Whether what ended of late held most of the permits, by Little's law. Requests that are admitted together also
    /// end together, with a latency of silence between them.
    fn ends_account_for_the_limit(&mut self, reached: Reached, now: Timestamp) -> bool {
        let span = recent_span(reached.long);
        self.recent.fade(span, now);
        self.recent.held >= MIN_HELD_SHARE * reached.limit as f64 * span.as_secs_f64()
    }

    fn was_doubled_in_vain(&self, seen: Stall) -> bool {
        self.last.is_some_and(|before| {
            seen.at.since(before.at) < DOUBLING_MEMORY
                && before.rate > 0.0
                && seen.rate > 0.0
                && seen.rate < MIN_RATE_FACTOR * before.rate
                && seen.long > before.long.mul_f64(MIN_LATENCY_FACTOR)
        })
    }
}

impl Recent {
    fn fade(&mut self, span: Duration, now: Timestamp) {
        self.held *= (-now.since(self.at).div_duration_f64(span)).exp();
        self.at = now;
    }
}

/// The time that counts as recent, where attempts take so long.
fn recent_span(long: Duration) -> Duration {
    long.clamp(STALLED_AFTER, MAX_RECENT_SPAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    fn reached(limit: usize, long: u64) -> Reached {
        Reached { limit, known: false, long: Duration::from_millis(long), workers: 1 }
    }

    /// So many attempts end that took so long.
    fn end(detector: &mut StallDetector, ended: u32, latency: Duration, at: u64) {
        let sample = Sample { weight: ended, ..Sample::new(latency, Outcome::Success) };
        detector.ended(&sample, latency, Timestamp::from_nanos(at * 1_000_000));
    }

    /// Whether a limit that is reached stalls, of which so many attempts end in the next 300 ms.
    fn stalls(detector: &mut StallDetector, ended: u32, reached: Reached, at: &mut u64) -> bool {
        *at += 300;
        end(detector, ended, reached.long, *at);
        detector.is_over(reached, Duration::ZERO, Timestamp::from_nanos(*at * 1_000_000))
    }

    #[test]
    fn a_limit_is_not_doubled_again_if_that_only_made_attempts_slower() {
        let (mut detector, mut at) = (StallDetector::default(), 0);
        assert!(stalls(&mut detector, 2, reached(100, 300), &mut at));
        assert!(!stalls(&mut detector, 2, reached(200, 600), &mut at));
    }

    #[test]
    fn requests_that_end_together_do_not_stall_the_limit_until_the_next_ones_end() {
        for (latency, stalled) in [(900, false), (30, true)] {
            let (mut detector, mut at) = (StallDetector::default(), 0);
            end(&mut detector, 100, Duration::from_millis(latency), at);
            let silent = (0..2).any(|_| stalls(&mut detector, 0, reached(100, latency), &mut at));
            assert_eq!(silent, stalled, "{latency} ms");
        }
    }

    #[test]
    fn a_limit_whose_attempts_take_as_long_as_before_is_doubled_until_they_end() {
        let (mut detector, mut at) = (StallDetector::default(), 0);
        for limit in [100, 200, 400, 800] {
            assert!(stalls(&mut detector, 2, reached(limit, 300), &mut at));
        }
        assert!(!stalls(&mut detector, 400, reached(1_600, 300), &mut at));
    }
}
