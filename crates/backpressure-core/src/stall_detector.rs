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
    recent: RecentEnds,
    /// When the limit was last found to have stalled.
    last: Option<Stall>,
}

/// The attempts that ended of late, and how many others they overtook.
///
/// In a queue, none of those that were in flight when an attempt was admitted is still in flight when it ends. Attempts
/// that stay meanwhile hold their permits for something that the others do not wait for.
#[derive(Clone, Copy, Debug, Default)]
struct RecentEnds {
    /// Attempts that ended in the present interval and in the one before, the seconds for which these held permits,
    /// and when the intervals began.
    ended: (f64, f64),
    held: (f64, f64),
    began: (Timestamp, Timestamp),
    /// Mean share that stayed, mean latency in seconds, and the attempts that these are means of.
    stayed: f64,
    latency: f64,
    count: f64,
    /// The shortest that this latency was of late.
    shortest: f64,
    /// When an attempt last ended, and how often the limit was doubled since then.
    last: Timestamp,
    doubled: u32,
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
/// Share of the permit time of late from which on the attempts that ended are most of what runs.
const MIN_HELD_SHARE: f64 = 0.5;
/// Share of the attempts in flight that others overtake, from which on permits are held for something else. Where
/// attempts do not wait for each other and latencies are exponential it is 1/e.
const MIN_SHARE_OVERTAKEN: f64 = 0.25;
/// Latency over the shortest of late, from which on attempts wait. Attempts that all take the same time end in the order
/// of their admission as well, although nothing is scarce.
const MIN_GROWTH: f64 = 1.5;
/// Attempts after which a shortest latency is forgotten.
const SHORTEST_MEMORY: f64 = 512.0;
/// Attempts which such a mean is of, at least and at most.
const MIN_ENDS: f64 = 4.0;
const MAX_ENDS: f64 = 16.0;
/// Ends during an attempt over those in flight at its admission, above which it was overtaken itself: it says nothing.
const MAX_ENDS_OVER_IN_FLIGHT: f64 = 2.0;
/// After so many latencies without an end, what ended before says nothing of the attempts in flight. Twice as many for
/// each time that the limit was doubled meanwhile.
const SILENT_LATENCIES: u32 = 3;
const MAX_SILENT_DOUBLINGS: u32 = 16;
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
        self.recent.add(sample, long.max(STALLED_AFTER), now);
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
            && (reached.known || !self.recent.shows_a_queue(reached, lasted, now))
            && !self.was_doubled_in_vain(seen);
        if stalled {
            self.last = Some(seen);
            self.recent.doubled = (self.recent.doubled + 1).min(MAX_SILENT_DOUBLINGS);
        }
        self.clear(worked, now);
        stalled
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

impl RecentEnds {
    fn add(&mut self, sample: &Sample, interval: Duration, now: Timestamp) {
        let passed = now.since(self.began.0);
        if passed >= 2 * interval {
            (self.ended, self.held) = ((0.0, 0.0), (0.0, 0.0));
            self.began = (now - sample.latency, now - sample.latency);
        } else if passed >= interval {
            (self.ended, self.held) = ((0.0, self.ended.0), (0.0, self.held.0));
            self.began = (now, self.began.0);
        }
        self.ended.0 += f64::from(sample.weight);
        self.held.0 += f64::from(sample.weight) * sample.latency.as_secs_f64();
        (self.last, self.doubled) = (now, 0);
        let rate = (self.ended.0 + self.ended.1) / self.seconds(now);
        self.compare(sample, rate * sample.latency.as_secs_f64());
    }

    /// Compares the attempts that ended while this one was in flight with those in flight at its admission.
    fn compare(&mut self, sample: &Sample, ended: f64) {
        let ended = ended / sample.in_flight.max(1) as f64;
        if ended <= MAX_ENDS_OVER_IN_FLIGHT {
            self.count = (self.count + 1.0).min(MAX_ENDS);
            self.stayed += ((1.0 - ended).max(0.0) - self.stayed) / self.count;
            self.latency += (sample.latency.as_secs_f64() - self.latency) / self.count;
            self.shortest += (self.latency - self.shortest) / SHORTEST_MEMORY;
            if self.count < MIN_ENDS || self.latency < self.shortest {
                self.shortest = self.latency;
            }
        }
    }

    /// Since when the ends are counted, in seconds.
    fn seconds(&self, now: Timestamp) -> f64 {
        now.since(self.began.1).as_secs_f64()
    }

    /// Whether the attempts in flight seem to wait in the line from which others end.
    fn shows_a_queue(&self, reached: Reached, lasted: Duration, now: Timestamp) -> bool {
        self.accounts_for(reached.limit, now) || self.is_line(reached.long, lasted, now)
    }

    /// Whether what ended of late held most of the permits, by Little's law. Requests that are admitted together also
    /// end together, with a latency of silence between them.
    fn accounts_for(&self, limit: usize, now: Timestamp) -> bool {
        self.held.0 + self.held.1 >= MIN_HELD_SHARE * limit as f64 * self.seconds(now)
    }

    /// Whether attempts end in the order of their admission and take longer and longer.
    fn is_line(&self, long: Duration, lasted: Duration, now: Timestamp) -> bool {
        let silence = now.since(self.last).min(lasted);
        self.count >= MIN_ENDS
            && self.stayed < MIN_SHARE_OVERTAKEN
            && self.latency >= MIN_GROWTH * self.shortest
            && silence < SILENT_LATENCIES * long * (1 << self.doubled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    fn reached(limit: usize, long: u64) -> Reached {
        Reached { limit, known: false, long: Duration::from_millis(long), workers: 1 }
    }

    /// So many of 100 attempts in flight end, which took so long.
    fn end(detector: &mut StallDetector, ended: u32, latency: Duration, at: u64) {
        let sample = Sample::new(latency, Outcome::Success).in_flight(100).weight(ended);
        detector.ended(&sample, latency, Timestamp::from_nanos(at * 1_000_000));
    }

    /// Whether a limit that is reached stalls, of which so many attempts end in the next 300 ms.
    fn stalls(detector: &mut StallDetector, ended: u32, reached: Reached, at: &mut u64) -> bool {
        *at += 300;
        if ended > 0 {
            end(detector, ended, reached.long, *at);
        }
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
            let (mut detector, mut at) = (StallDetector::default(), latency);
            (0..100).for_each(|_| end(&mut detector, 1, Duration::from_millis(latency), at));
            let silent = (0..2).any(|_| stalls(&mut detector, 0, reached(100, latency), &mut at));
            assert_eq!(silent, stalled, "{latency} ms");
        }
    }

    /// Whether a limit of 100 stalls in silence after attempts that ended one each 10 ms after so many milliseconds.
    fn stalls_after(latency: u64) -> bool {
        let (mut detector, mut at) = (StallDetector::default(), 0);
        for _ in 0..200 {
            at += 10;
            end(&mut detector, 1, Duration::from_millis(latency), at);
        }
        detector.clear(Duration::ZERO, Timestamp::from_nanos(at * 1_000_000));
        stalls(&mut detector, 0, reached(100, 1_000), &mut at)
    }

    #[test]
    fn a_limit_is_doubled_while_others_overtake_what_holds_its_permits_and_not_in_a_line() {
        assert!(stalls_after(100));
        assert!(!stalls_after(1_000));
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
