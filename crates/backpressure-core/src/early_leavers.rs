//! Tells callers that leave before any response could come from those that a better queue would have served.

use std::time::Duration;

use crate::sample::Sample;

/// Counts requests whose callers left sooner than a response takes.
///
/// Such a request is served under no limit and behind no queue: a stream that is reset as soon as it is opened
/// (CVE-2023-44487). It says nothing of the service, and what returns its permit by itself is no demand: as many of the
/// arrivals that follow are not counted as such. A caller that stays for longer is demand whether it is served or not.
#[derive(Debug, Default)]
pub(crate) struct EarlyLeavers {
    /// Those for which no arrival was left out yet.
    uncounted: u32,
    /// How long the request was queued that was admitted last.
    last_wait: Duration,
}

/// A response is taken to take this long while none was measured: the first of a faster service is there by then.
const UNKNOWN_LATENCY: Duration = Duration::from_millis(100);

impl EarlyLeavers {
    /// A request is admitted that was queued for this long.
    pub(crate) const fn admitted(&mut self, wait: Duration) {
        self.last_wait = wait;
    }

    /// The caller of a request left that was queued for `wait`, where a response takes `latency`; zero: unknown.
    pub(crate) fn left_queue(&mut self, wait: Duration, latency: Duration) {
        self.count(wait, latency, 1);
    }

    /// The caller of this attempt left. Returns whether it was early: it was queued before for as long as others are.
    pub(crate) fn left(&mut self, sample: &Sample, latency: Duration) -> bool {
        self.count(self.last_wait + sample.latency, latency, sample.weight)
    }

    fn count(&mut self, stayed: Duration, latency: Duration, weight: u32) -> bool {
        let is_early = stayed < if latency.is_zero() { UNKNOWN_LATENCY } else { latency };
        if is_early {
            self.uncounted = self.uncounted.saturating_add(weight);
        }
        is_early
    }

    /// So many requests arrive; whether the last of them counts as demand.
    pub(crate) const fn counts(&mut self, arrivals: u32) -> bool {
        let counts = self.uncounted < arrivals;
        self.uncounted = self.uncounted.saturating_sub(arrivals);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    const MILLI: Duration = Duration::from_millis(1);

    fn leaves_early(wait: Duration, held: Duration, latency: Duration) -> bool {
        let mut leavers = EarlyLeavers::default();
        leavers.admitted(wait);
        leavers.left(&Sample::new(held, Outcome::Cancelled), latency)
    }

    #[test]
    fn one_arrival_is_left_out_for_each_caller_that_left_before_a_response_could_come() {
        let mut leavers = EarlyLeavers::default();
        leavers.left_queue(5 * MILLI, 40 * MILLI);
        leavers.left_queue(40 * MILLI, 40 * MILLI);
        assert_eq!([(); 3].map(|()| leavers.counts(1)), [false, true, true]);
    }

    #[test]
    fn callers_that_left_while_permits_were_free_hide_no_demand_later() {
        let mut leavers = EarlyLeavers::default();
        for _ in 0..1_000 {
            leavers.counts(1);
            leavers.left_queue(Duration::ZERO, MILLI);
        }
        assert!(leavers.counts(2));
    }

    #[test]
    fn a_caller_whose_patience_was_spent_in_the_queue_did_not_leave_early() {
        assert!(leaves_early(Duration::ZERO, 20 * MILLI, 40 * MILLI));
        assert!(!leaves_early(80 * MILLI, 20 * MILLI, 40 * MILLI));
    }

    #[test]
    fn without_a_response_callers_that_leave_within_a_tenth_of_a_second_are_early() {
        assert!(leaves_early(Duration::ZERO, 99 * MILLI, Duration::ZERO));
        assert!(!leaves_early(Duration::ZERO, 100 * MILLI, Duration::ZERO));
    }
}
