//! Places that stand empty while nobody waits.

use std::time::Duration;

use crate::time::Timestamp;

/// Adds up how many places stand empty, and for how long.
#[derive(Debug)]
pub(crate) struct IdleWindow {
    since: Timestamp,
    /// Share of the places that is empty from `seen` on.
    free: f64,
    seen: Timestamp,
    /// Seconds in which all were empty, or twice as many in which half of them were.
    vacant: f64,
}

/// With more of the places empty there is no overload: at full load sixteen places without a queue
/// are empty for a sixth of the time, and with one for less.
const LULL: f64 = 0.25;

impl IdleWindow {
    pub(crate) const fn since(now: Timestamp) -> Self {
        Self { since: now, free: 0.0, seen: now, vacant: 0.0 }
    }

    /// This share of the places is empty from now on; whether too many were for a `span`, which
    /// begins anew then.
    pub(crate) fn shows_lull(&mut self, free: f64, span: Duration, now: Timestamp) -> bool {
        self.vacant += self.free * now.since(self.seen).as_secs_f64();
        (self.free, self.seen) = (free, now);
        let watched = now.since(self.since);
        if watched <= span {
            return false;
        }
        let lull = self.vacant > LULL * watched.as_secs_f64();
        (self.since, self.vacant) = (now, 0.0);
        lull
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// Half the places are empty for so many of every hundred milliseconds.
    fn lulls(empty: u64) -> bool {
        let mut idle = IdleWindow::since(at(0));
        (0..10).any(|round| {
            idle.shows_lull(0.5, SPAN, at(100 * round))
                | idle.shows_lull(0.0, SPAN, at(100 * round + empty))
        })
    }

    #[test]
    fn half_the_places_empty_most_of_the_time_is_a_lull() {
        assert!(lulls(80));
    }

    #[test]
    fn half_the_places_empty_now_and_then_is_none() {
        assert!(!lulls(30));
    }

    #[test]
    fn nothing_is_said_before_the_span_is_over() {
        let mut idle = IdleWindow::since(at(0));
        assert!(!idle.shows_lull(1.0, SPAN, at(0)));
        assert!(!idle.shows_lull(1.0, SPAN, at(100)));
        assert!(idle.shows_lull(1.0, SPAN, at(101)));
    }
}
