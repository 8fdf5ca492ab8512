//! Detects a limit that is reached and protects nothing.

use std::time::Duration;

use crate::time::Timestamp;

/// Detects that the limit is reached while hardly any permit is released and the workers are idle.
///
/// The requests that hold the permits then wait for something else: a rejection protects nothing that can be
/// measured, and one more request does no harm.
#[derive(Debug, Default)]
pub(crate) struct StallDetector {
    since: Timestamp,
    /// Time that workers had spent on requests until then.
    worked: Duration,
    /// Attempts that have ended since then.
    ended: f64,
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
/// Workers that were busy for a smaller share of that time are idle.
const BUSY_WORKERS_SHARE: f64 = 0.5;

impl StallDetector {
    /// The limit is not reached: watching starts anew.
    pub(crate) fn clear(&mut self, worked: Duration, now: Timestamp) {
        *self = Self { since: now, worked, ended: 0.0 };
    }

    /// `count` attempts have ended, of those that count towards the limit.
    pub(crate) fn ended(&mut self, count: u32) {
        self.ended += f64::from(count);
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
        let turnover = if reached.known { 2 * reached.long } else { Duration::ZERO };
        if lasted < STALLED_AFTER.max(turnover) || expected < enough {
            return false;
        }
        let busy = worked.saturating_sub(self.worked).as_secs_f64();
        let idle = busy < BUSY_WORKERS_SHARE * reached.workers as f64 * lasted.as_secs_f64();
        let stalled = idle && self.ended < share * expected;
        self.clear(worked, now);
        stalled
    }
}
