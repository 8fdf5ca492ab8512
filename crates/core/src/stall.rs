//! A limit that is reached and protects nothing.

use std::time::Duration;

use crate::time::Timestamp;

/// Watches for a limit that is reached while nothing is answered and the workers are idle.
///
/// What holds the places then waits for something else: refusing protects nothing that can be
/// measured, and one more request can lose nothing.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    since: Timestamp,
    /// Time that workers had spent on requests by then.
    worked: Duration,
}

/// Time without an answer after which a limit that is reached has stalled. Longer than the scheduler
/// makes a request wait on a busy machine; a tenth of the time for which a request waits by default,
/// so that the limit has grown a thousandfold before the first one gives up.
const STALLED_AFTER: Duration = Duration::from_millis(100);
/// And in so many usual gaps there should have been an answer: by chance there is none once in e²⁰ times.
const GAPS: u32 = 20;
/// Workers that were busy for a smaller share of that time are idle.
const BUSY_SHARE: f64 = 0.5;

impl Stall {
    /// There is room, or something was answered.
    pub(crate) fn clear(&mut self, worked: Duration, now: Timestamp) {
        (self.since, self.worked) = (now, worked);
    }

    /// The limit is reached; whether it has been in vain for long enough. The next time counts anew.
    ///
    /// `gap` is the usual time between two answers when so many requests are in flight.
    pub(crate) fn is_over(
        &mut self,
        gap: Duration,
        workers: f64,
        worked: Duration,
        now: Timestamp,
    ) -> bool {
        let lasted = now.since(self.since);
        if lasted < STALLED_AFTER.max(gap.saturating_mul(GAPS)) {
            return false;
        }
        let busy = worked.saturating_sub(self.worked).as_secs_f64();
        let idle = busy < BUSY_SHARE * workers * lasted.as_secs_f64();
        self.clear(worked, now);
        idle
    }
}
