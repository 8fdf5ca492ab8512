//! A limit that is reached and protects nothing.

use std::time::Duration;

use crate::time::Timestamp;

/// Watches for a limit that is reached while hardly any of its places turn over and the workers are idle.
///
/// What holds the places then waits for something else: refusing protects nothing that can be
/// measured, and one more request can lose nothing.
#[derive(Debug, Default)]
pub(crate) struct StallDetector {
    since: Timestamp,
    /// Time that workers had spent on requests by then.
    worked: Duration,
    /// Attempts that have ended since then.
    ended: f64,
}

/// What a limit is reached with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) limit: usize,
    /// Whether it is known to protect something.
    pub(crate) known: bool,
    /// How long all but a few attempts take at most; zero: none has ended.
    pub(crate) long: Duration,
    pub(crate) workers: usize,
}

/// Time after which a limit that is reached may have stalled. Longer than the scheduler makes a request
/// wait on a busy controller; a tenth of the time for which a request waits by default, so that the limit
/// has grown a thousandfold before the first one gives up.
const STALLED_AFTER: Duration = Duration::from_millis(100);
/// Attempts that should have ended in that time, and the share of them below which places are held by
/// something else. A limit that protects something has to be sure, and wait for two latencies: a service that
/// has just lost nine tenths of what it could do would lose more by a higher limit, and requests that came
/// together also end together.
const KNOWN_MIN_EXPECTED_AND_SHARE: (f64, f64) = (80.0, 1.0 / 16.0);
const UNKNOWN_MIN_EXPECTED_AND_SHARE: (f64, f64) = (8.0, 1.0 / 8.0);
/// Workers that were busy for a smaller share of that time are idle.
const BUSY_WORKERS_SHARE: f64 = 0.5;

impl StallDetector {
    /// There is room.
    pub(crate) fn clear(&mut self, worked: Duration, now: Timestamp) {
        *self = Self { since: now, worked, ended: 0.0 };
    }

    /// So many attempts have ended, of those that count.
    pub(crate) fn ended(&mut self, count: u32) {
        self.ended += f64::from(count);
    }

    /// The limit is reached; whether it has been in vain for long enough. The next time counts anew.
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
