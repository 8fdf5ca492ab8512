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
    /// Whether the last release ended a stall.
    ended_stall: bool,
    /// Since when all permits are in use and none was released.
    stuck_since: Option<Timestamp>,
}

/// Time constant of the mean time between two releases: a standard error of 9 %. Bodies that stream
/// for seconds make few releases, so that a longer memory would reach back for minutes.
const RELEASES: u32 = 64;
/// Without a release for this many times the mean time for which a permit is held, all permits are stuck: a
/// dependency hangs, or the process was suspended. Twice as long is beyond the scatter of sixteen permits and more.
const STUCK_HOLD_TIMES: f64 = 2.0;
/// How long a permit is taken to be held as long as that is unknown.
const UNKNOWN_HOLD_SECS: f64 = 1.0;
/// A stall is not expected to last for longer: half of what a client can be told to stay away.
const MAX_STUCK: Duration = Duration::from_secs(30);

impl ReleaseRate {
    pub(crate) const fn new() -> Self {
        Self {
            in_flight: 0,
            observed: Timestamp::ZERO,
            admitted: 0,
            full_secs: 0.0,
            secs_per_release: Ewma::new(RELEASES),
            ended_stall: false,
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
    /// decided on, so that each admission and each release was observed. `estimate`: releases a second as latency
    /// suggests.
    pub(crate) fn observe(
        &mut self,
        in_flight: usize,
        limit: usize,
        decides_all: bool,
        estimate: impl FnOnce() -> Option<f64>,
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
                self.measure(released, limit, estimate());
            }
        }
        if released > 0 || !was_full {
            self.stuck_since = (in_flight >= limit).then_some(now);
        }
        (self.in_flight, self.observed) = (in_flight, now);
    }

    /// Measures this many releases at one moment.
    ///
    /// What exceeds a stall's length is not counted: the stall is over, and not to be expected again. Unless the release
    /// before it ended one as well: then permits are held for as long.
    fn measure(&mut self, released: usize, limit: usize, estimate: Option<f64>) {
        let max =
            self.hold_secs(limit, estimate).map_or(f64::INFINITY, |secs| STUCK_HOLD_TIMES * secs);
        let full_secs = std::mem::take(&mut self.full_secs);
        let ends_stall = full_secs > max;
        let counted = if self.ended_stall { full_secs } else { full_secs.min(max) };
        self.ended_stall = ends_stall;
        let count = u32::try_from(released).unwrap_or(u32::MAX);
        self.secs_per_release.add_many(counted / released as f64, count);
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

    /// How long until the next release, where none has come for long; zero: they come as usual.
    ///
    /// The best guess for what has lasted for some time is that it lasts as long again.
    pub(crate) fn stuck_for(
        &self,
        limit: usize,
        estimate: Option<f64>,
        now: Timestamp,
    ) -> Duration {
        let stuck = self.stuck_since.map_or(Duration::ZERO, |since| now.since(since));
        let hold_secs = self.hold_secs(limit, estimate).unwrap_or(UNKNOWN_HOLD_SECS);
        let is_stuck = stuck.as_secs_f64() > STUCK_HOLD_TIMES * hold_secs;
        if is_stuck { stuck.min(MAX_STUCK) } else { Duration::ZERO }
    }

    /// The mean time for which a permit is held; `None`: unknown.
    fn hold_secs(&self, limit: usize, estimate: Option<f64>) -> Option<f64> {
        self.measured(estimate).map(|rate| limit as f64 / rate)
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
            rate.observe(if round == 0 { 0 } else { 2 }, 2, true, || None, now);
            if round > 0 {
                rate.observe(0, 2, true, || None, now);
            }
            rate.admitted(2);
            rate.observe(2, 2, true, || None, now);
        }
        f64::from(rounds - 1) * seconds
    }

    #[test]
    fn permits_released_much_later_than_the_head_of_the_response_override_its_latency() {
        let mut releases = ReleaseRate::new();
        let end = two_permits(&mut releases, 20, 4.0);
        let now = at(end + 1.0);
        let rate = |estimate| releases.measured(estimate).expect("measured");
        assert_eq!(releases.stuck_for(2, None, now), Duration::ZERO);
        assert!((rate(None) - 0.5).abs() < 0.02);
        assert!((rate(Some(6.7)) - 0.5).abs() < 0.02);
    }

    #[test]
    fn the_estimate_by_latency_holds_where_permits_are_released_about_as_fast() {
        let mut releases = ReleaseRate::new();
        let end = two_permits(&mut releases, 100, 0.3);
        assert_eq!(releases.measured(Some(7.0)), Some(7.0));
        assert_eq!(releases.stuck_for(2, Some(7.0), at(end + 0.1)), Duration::ZERO);
    }

    #[test]
    fn the_longer_no_permit_is_released_the_later_the_next_release_is_expected() {
        let mut releases = ReleaseRate::new();
        let end = two_permits(&mut releases, 100, 0.3);
        for stuck in [1.0, 4.0, 20.0, 30.0] {
            let expected = Duration::from_secs_f64(stuck);
            assert_eq!(releases.stuck_for(2, Some(6.7), at(end) + expected), expected);
        }
        assert_eq!(releases.stuck_for(2, Some(6.7), at(end + 300.0)), MAX_STUCK);
    }

    #[test]
    fn a_stall_that_is_over_does_not_slow_down_the_releases_to_expect() {
        let mut releases = ReleaseRate::new();
        let end = two_permits(&mut releases, 100, 0.3);
        let resumed = at(end + 20.0);
        releases.observe(0, 2, true, || None, resumed);
        assert_eq!(releases.stuck_for(2, None, resumed), Duration::ZERO);
        let per_second = releases.measured(None).expect("measured");
        assert!((per_second / 6.7 - 1.0).abs() < 0.1, "{per_second} a second");
    }

    #[test]
    fn permits_that_are_held_for_much_longer_from_now_on_are_measured() {
        let mut releases = ReleaseRate::new();
        let end = two_permits(&mut releases, 100, 0.3);
        for round in 1..=20 {
            let now = at(end + 10.0 * f64::from(round));
            releases.observe(1, 2, true, || None, now);
            releases.admitted(1);
            releases.observe(2, 2, true, || None, now);
        }
        let per_second = releases.measured(None).expect("measured");
        assert!(per_second < 0.4, "{per_second} a second");
    }

    #[test]
    fn a_stall_is_one_where_only_latency_was_measured_before() {
        let mut releases = ReleaseRate::new();
        releases.admitted(2);
        releases.observe(2, 2, true, || None, at(1.0));
        releases.observe(0, 2, true, || Some(10.0), at(6.0));
        let per_second = releases.measured(None).expect("measured");
        assert!(per_second >= 2.0, "{per_second} a second");
    }

    #[test]
    fn a_service_that_is_idle_between_two_requests_is_not_slow() {
        let mut releases = ReleaseRate::new();
        for round in 0..100 {
            let now = at(10.0 * f64::from(round));
            releases.admitted(1);
            releases.observe(1, 1, false, || None, now);
        }
        assert_eq!(releases.measured(Some(100.0)), Some(100.0));
        assert_eq!(releases.stuck_for(1, Some(100.0), at(990.0)), Duration::ZERO);
    }

    #[test]
    fn without_a_release_or_a_response_the_rate_is_unknown_and_permits_are_stuck_after_seconds() {
        let mut releases = ReleaseRate::new();
        releases.observe(4, 4, true, || None, at(0.1));
        assert_eq!(releases.measured(None), None);
        assert_eq!(releases.stuck_for(4, None, at(2.0)), Duration::ZERO);
        assert_eq!(releases.stuck_for(4, None, at(5.1)), Duration::from_secs(5));
    }
}
