//! Measures how many permits are idle while the queue is empty.

use std::time::Duration;

use crate::time::Timestamp;

/// Averages the share of idle permits over a window of time.
#[derive(Debug)]
pub(crate) struct IdleWindow {
    started: Timestamp,
    /// Share of the permits that is idle since `updated`.
    idle_share: f64,
    updated: Timestamp,
    /// Integral of the idle share over the window so far, in seconds.
    idle_secs: f64,
}

/// With a larger share of the permits idle there is no overload. At full load 16 permits without a
/// queue are idle for a sixth of the time, and with a queue for less, so that a smaller share would end
/// overload by chance; at half the load half of them are idle.
const MAX_IDLE_SHARE_AT_FULL_LOAD: f64 = 0.25;

impl IdleWindow {
    pub(crate) const fn starting(now: Timestamp) -> Self {
        Self { started: now, idle_share: 0.0, updated: now, idle_secs: 0.0 }
    }

    /// Records that this share of the permits is idle from now on. True when a window longer than
    /// `span` has ended in which more were idle than at full load; the next window starts then.
    pub(crate) fn record(&mut self, idle_share: f64, span: Duration, now: Timestamp) -> bool {
        self.idle_secs += self.idle_share * now.since(self.updated).as_secs_f64();
        (self.idle_share, self.updated) = (idle_share, now);
        let length = now.since(self.started);
        if length <= span {
            return false;
        }
        let is_idle = self.idle_secs > MAX_IDLE_SHARE_AT_FULL_LOAD * length.as_secs_f64();
        (self.started, self.idle_secs) = (now, 0.0);
        is_idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// Whether it is idle when half the permits are, for `idle_millis` of every hundred.
    fn is_idle(idle_millis: u64) -> bool {
        let mut window = IdleWindow::starting(at(0));
        (0..10).any(|round| {
            window.record(0.5, SPAN, at(100 * round))
                | window.record(0.0, SPAN, at(100 * round + idle_millis))
        })
    }

    #[test]
    fn half_the_permits_idle_most_of_the_time_is_below_full_load() {
        assert!(is_idle(80));
    }

    #[test]
    fn half_the_permits_idle_for_a_third_of_the_time_is_full_load() {
        assert!(!is_idle(30));
    }

    #[test]
    fn nothing_is_decided_before_the_window_ends() {
        let mut window = IdleWindow::starting(at(0));
        assert!(!window.record(1.0, SPAN, at(0)));
        assert!(!window.record(1.0, SPAN, at(100)));
        assert!(window.record(1.0, SPAN, at(101)));
    }
}
