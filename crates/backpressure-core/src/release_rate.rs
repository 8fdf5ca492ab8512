//! Measures how often a permit is released while the limit is reached.

use std::time::Duration;

use crate::ewma::Ewma;
use crate::throughput::SIMILAR_SHARE;
use crate::time::Timestamp;

/// Measures how often a permit is released while all of them are in use.
///
/// A sample ends with the head of a response. A permit may be held for longer, by a body that streams,
/// or be released without a response, because the caller left. A rejected request needs a permit, so
/// the time it is told rests on releases.
#[derive(Debug)]
pub(crate) struct ReleaseRate {
    /// As of the last observation.
    in_flight: usize,
    observed: Timestamp,
    /// Requests admitted since.
    admitted: usize,
    /// Time without a release while all permits were in use.
    full_secs: f64,
    secs_per_release: Ewma,
    /// Since when all permits are in use and none was released.
    stuck_since: Option<Timestamp>,
}

/// Time constant of the mean time between two releases: a standard error of 9 %. Bodies that stream
/// for seconds make few releases, so that a longer memory would reach back for minutes.
const RELEASES: u32 = 64;
/// Without a release for this many times the mean time for which a permit is held, what was measured
/// no longer holds. Twice as long is beyond the scatter of sixteen permits and more.
const STUCK_HOLD_TIMES: f64 = 2.0;

impl ReleaseRate {
    pub(crate) const fn new() -> Self {
        Self {
            in_flight: 0,
            observed: Timestamp::ZERO,
            admitted: 0,
            full_secs: 0.0,
            secs_per_release: Ewma::new(RELEASES),
            stuck_since: None,
        }
    }

    /// Forgets how often permits are released: the limit is replaced.
    pub(crate) const fn forget_limit(&mut self) {
        self.full_secs = 0.0;
        self.secs_per_release = Ewma::new(RELEASES);
    }

    /// `count` requests were admitted, with or without a decision.
    pub(crate) fn admitted(&mut self, count: u32) {
        self.admitted += count as usize;
    }

    /// Observes the number in flight. `decides_all`: since the last observation every request was
    /// decided on, so that each admission and each release was observed.
    pub(crate) fn observe(
        &mut self,
        in_flight: usize,
        limit: usize,
        decides_all: bool,
        now: Timestamp,
    ) {
        // One decision observes twice, at the same moment.
        if (self.in_flight, self.observed, self.admitted) == (in_flight, now, 0) {
            return;
        }
        let admitted = std::mem::take(&mut self.admitted);
        let released = (self.in_flight + admitted).saturating_sub(in_flight);
        let was_full = self.in_flight >= limit;
        // If requests ran undecided, how long all permits were in use between them is unknown.
        if was_full && (decides_all || admitted == 0 && released == 0) {
            self.full_secs += now.since(self.observed).as_secs_f64();
            if released > 0 {
                let secs = std::mem::take(&mut self.full_secs) / released as f64;
                self.secs_per_release.add_many(secs, u32::try_from(released).unwrap_or(u32::MAX));
            }
        }
        if released > 0 || !was_full {
            self.stuck_since = (in_flight >= limit).then_some(now);
        }
        (self.in_flight, self.observed) = (in_flight, now);
    }

    /// Releases a second as measured so far, where latency suggests `estimate`; `None`: neither is known.
    ///
    /// The estimate holds unless clearly fewer permits are released: it is the one that scatters less.
    pub(crate) fn measured(&self, estimate: Option<f64>) -> Option<f64> {
        let secs = self.secs_per_release.mean();
        let measured = (secs > 0.0).then(|| secs.recip());
        match (estimate, measured) {
            (Some(estimate), Some(measured)) if measured < SIMILAR_SHARE * estimate => {
                Some(measured)
            }
            (estimate, measured) => estimate.or(measured),
        }
    }

    /// Releases a second to expect now: as measured, or fewer where none has come for long.
    pub(crate) fn per_second(
        &self,
        estimate: Option<f64>,
        limit: usize,
        now: Timestamp,
    ) -> Option<f64> {
        let rate = self.measured(estimate);
        let stuck = self.stuck_since.map_or(Duration::ZERO, |since| now.since(since));
        let stuck = stuck.as_secs_f64();
        // Without a rate a permit is taken to be held for a second.
        let hold_secs = rate.map_or(1.0, |rate| limit as f64 / rate);
        // The best guess for what has lasted for some time is that it lasts for as long again.
        if stuck > STUCK_HOLD_TIMES * hold_secs { Some(stuck.recip()) } else { rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs_f64(seconds)
    }

    /// Two permits, both released and acquired again every `seconds`; when the last round started.
    fn two_permits(rate: &mut ReleaseRate, rounds: u32, seconds: f64) -> f64 {
        for round in 0..rounds {
            let now = at(f64::from(round) * seconds);
            rate.observe(if round == 0 { 0 } else { 2 }, 2, true, now);
            if round > 0 {
                rate.observe(0, 2, true, now);
            }
            rate.admitted(2);
            rate.observe(2, 2, true, now);
        }
        f64::from(rounds - 1) * seconds
    }

    #[test]
    fn permits_released_much_later_than_the_head_of_the_response_override_its_latency() {
        let mut releases = ReleaseRate::new();
        let end = two_permits(&mut releases, 20, 4.0);
        let now = at(end + 1.0);
        let rate = |estimate| releases.per_second(estimate, 2, now).expect("measured");
        assert!((rate(None) - 0.5).abs() < 0.02);
        assert!((rate(Some(6.7)) - 0.5).abs() < 0.02);
    }

    #[test]
    fn the_estimate_by_latency_holds_where_permits_are_released_about_as_fast() {
        let mut releases = ReleaseRate::new();
        let end = two_permits(&mut releases, 100, 0.3);
        assert_eq!(releases.per_second(Some(7.0), 2, at(end + 0.1)), Some(7.0));
    }

    #[test]
    fn the_longer_no_permit_is_released_the_later_the_next_release_is_expected() {
        let mut releases = ReleaseRate::new();
        let end = two_permits(&mut releases, 100, 0.3);
        for stuck in [1.0, 4.0, 20.0] {
            let rate = releases.per_second(Some(6.7), 2, at(end + stuck)).expect("measured");
            assert!((rate * stuck - 1.0).abs() < 0.01, "after {stuck} s: {rate} a second");
        }
    }

    #[test]
    fn a_service_that_is_idle_between_two_requests_is_not_slow() {
        let mut releases = ReleaseRate::new();
        for round in 0..100 {
            let now = at(10.0 * f64::from(round));
            releases.admitted(1);
            releases.observe(1, 1, false, now);
        }
        assert_eq!(releases.per_second(Some(100.0), 1, at(990.0)), Some(100.0));
    }

    #[test]
    fn without_a_release_or_a_response_the_rate_is_unknown_until_permits_are_stuck() {
        let mut releases = ReleaseRate::new();
        releases.observe(4, 4, true, at(0.1));
        assert_eq!(releases.per_second(None, 4, at(0.1)), None);
        assert_eq!(releases.per_second(None, 4, at(5.1)), Some(0.2));
    }
}
