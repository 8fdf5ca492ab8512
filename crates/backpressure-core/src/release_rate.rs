//! How often a place comes free while all are taken, whatever became of the request that held it.

use std::time::Duration;

use crate::throughput::FAR_BELOW;
use crate::time::Timestamp;

/// Counts the places that come free while the limit is reached.
///
/// An answer tells how long the head of an answer took. A place may be held for longer by a body that
/// streams, or come free without an answer because the caller left. A refused caller waits for a
/// place, so this is what it has to be told.
#[derive(Debug, Default)]
pub(crate) struct ReleaseRate {
    /// As of the last visit: how many are in flight, and when that was.
    in_flight: usize,
    visited: Timestamp,
    /// How many were admitted since, one by one and without asking.
    entered: usize,
    passed: usize,
    /// Seconds in which all places were taken, and places that came free in them.
    full: f64,
    freed: f64,
    /// Since when all places are taken and none has come free.
    silent_since: Option<Timestamp>,
}

/// Places to come free until the older half of what is known is forgotten: ±15 % by chance.
const FORGET_AFTER: f64 = 64.0;
/// Places that have to come free before their rate beats what answers say: ±35 % by chance.
const ENOUGH: f64 = 8.0;

impl ReleaseRate {
    /// So many were admitted without asking.
    pub(crate) fn admitted_undecided(&mut self, count: u32) {
        self.passed += count as usize;
    }

    /// One is admitted that asked.
    pub(crate) fn entered(&mut self) {
        self.entered += 1;
    }

    /// So many are in flight now. `asks`: since the last visit every request had to ask, so that each
    /// coming and going was a visit.
    pub(crate) fn visit(&mut self, in_flight: usize, limit: usize, asks: bool, now: Timestamp) {
        let entered = std::mem::take(&mut self.entered) + std::mem::take(&mut self.passed);
        let freed = (self.in_flight + entered).saturating_sub(in_flight);
        let was_full = self.in_flight >= limit;
        // Without a visit for each, nothing is known of the time between two requests.
        if was_full && (asks || entered == 0 && freed == 0) {
            self.full += now.since(self.visited).as_secs_f64();
            self.freed += freed as f64;
            if self.freed > FORGET_AFTER {
                (self.full, self.freed) = (self.full / 2.0, self.freed / 2.0);
            }
        }
        if freed > 0 || !was_full {
            self.silent_since = (in_flight >= limit).then_some(now);
        }
        (self.in_flight, self.visited) = (in_flight, now);
    }

    /// Places a second that come free, where answers say `answered`; `None`: nothing was seen.
    pub(crate) fn per_second(
        &self,
        answered: Option<f64>,
        limit: usize,
        now: Timestamp,
    ) -> Option<f64> {
        let freed = (self.freed > 0.0 && self.full > 0.0).then(|| self.freed / self.full);
        let differs = |freed: f64, rate| self.freed >= ENOUGH && freed < FAR_BELOW * rate;
        let rate = match (answered, freed) {
            (Some(answered), Some(freed)) if differs(freed, answered) => Some(freed),
            (answered, freed) => answered.or(freed),
        };
        let silence = self.silent_since.map_or(Duration::ZERO, |since| now.since(since));
        let silence = silence.as_secs_f64();
        // Twice as long as a place is held, or two seconds: then nothing of what was known holds.
        // What has lasted for some time lasts for as long again, as far as is known.
        let long = 2.0 * rate.map_or(1.0, |rate| limit as f64 / rate);
        if silence > long { Some(silence.recip()) } else { rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs_f64(seconds)
    }

    /// Two places, both taken again at once when they come free, every `seconds`.
    fn two_places(turnover: &mut ReleaseRate, rounds: u32, seconds: f64) -> f64 {
        for round in 0..rounds {
            let now = at(f64::from(round) * seconds);
            turnover.visit(if round == 0 { 0 } else { 2 }, 2, true, now);
            if round > 0 {
                turnover.visit(0, 2, true, now);
            }
            (0..2).for_each(|_| turnover.entered());
            turnover.visit(2, 2, true, now);
        }
        f64::from(rounds - 1) * seconds
    }

    #[test]
    fn places_that_come_free_without_an_answer_count() {
        let mut turnover = ReleaseRate::default();
        let end = two_places(&mut turnover, 20, 4.0);
        let now = at(end + 1.0);
        let rate = |answered| turnover.per_second(answered, 2, now).expect("seen");
        assert!((rate(None) - 0.5).abs() < 0.02);
        assert!((rate(Some(6.7)) - 0.5).abs() < 0.02);
    }

    #[test]
    fn answers_are_believed_where_places_come_free_about_as_fast() {
        let mut turnover = ReleaseRate::default();
        let end = two_places(&mut turnover, 100, 0.3);
        assert_eq!(turnover.per_second(Some(7.0), 2, at(end + 0.1)), Some(7.0));
    }

    #[test]
    fn places_that_do_not_come_free_at_all_are_expected_the_later_the_longer_it_lasts() {
        let mut turnover = ReleaseRate::default();
        let end = two_places(&mut turnover, 100, 0.3);
        for silence in [1.0, 4.0, 20.0] {
            let rate = turnover.per_second(Some(6.7), 2, at(end + silence)).expect("seen");
            assert!((rate * silence - 1.0).abs() < 0.01, "after {silence} s: {rate} a second");
        }
    }

    #[test]
    fn a_service_that_is_idle_between_two_requests_is_not_slow() {
        let mut turnover = ReleaseRate::default();
        for round in 0..100 {
            let now = at(10.0 * f64::from(round));
            turnover.admitted_undecided(1);
            turnover.visit(1, 1, false, now);
        }
        assert_eq!(turnover.per_second(Some(100.0), 1, at(990.0)), Some(100.0));
    }

    #[test]
    fn as_long_as_nothing_was_seen_nothing_is_said() {
        let mut turnover = ReleaseRate::default();
        turnover.visit(4, 4, true, at(0.1));
        assert_eq!(turnover.per_second(None, 4, at(0.1)), None);
        assert_eq!(turnover.per_second(None, 4, at(5.1)), Some(0.2));
    }
}
