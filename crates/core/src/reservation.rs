//! When the refused may come back.

use std::time::Duration;

use crate::time::Timestamp;

/// Hands out places in the future, so that the refused return one by one, as fast as they can be
/// served and no faster.
///
/// `vt = max(vt, now) + 1 / (η · spare)`; the answer is `vt − now`. What is spare is what the
/// service can do less what usually arrives; those who wait here take it first. A constant
/// Retry-After brings every refused caller back in the same second.
#[derive(Debug)]
pub(crate) struct Reservations {
    /// The last place handed out.
    booked: Timestamp,
    /// Places handed out that are not due yet, as of `looked`.
    owed: f64,
    looked: Timestamp,
    /// Requests a second that come without having been told to.
    usual: Usual,
    /// Places promised past the horizon; spreads them evenly.
    spread: u64,
}

/// Part of the spare capacity that is promised: the rest absorbs the callers' own jitter.
const UTILISATION: f64 = 0.95;
/// Even a service without anything to spare promises this share of what it can do.
const LEAST_SPARE: f64 = 0.02;
/// Nothing is promised past this. Twice the horizon is the longest answer: 60 s is what clients
/// commonly accept as a Retry-After.
const HORIZON: Duration = Duration::from_secs(30);
/// As long as nothing has been measured the refused are spread over this many seconds.
const BLIND_SPREAD: f64 = 4.0;

impl Reservations {
    pub(crate) fn new() -> Self {
        Self {
            booked: Timestamp::ZERO,
            owed: 0.0,
            looked: Timestamp::ZERO,
            usual: Usual::default(),
            spread: 0,
        }
    }

    /// `count` requests got to run since the last call.
    pub(crate) fn admitted(&mut self, count: u32, now: Timestamp) {
        let due = self.due(now);
        self.usual.add(f64::from(count) - due, now);
    }

    /// Books the return of a request that is refused now, by a service that can do `capacity`
    /// requests a second, `None`: nobody knows, and where so many wait.
    pub(crate) fn book(
        &mut self,
        capacity: Option<f64>,
        waiting: usize,
        now: Timestamp,
    ) -> Duration {
        self.admitted(1, now);
        let Some(capacity) = capacity else {
            return Duration::from_secs_f64(1.0 + BLIND_SPREAD * self.next_fraction());
        };
        let spare = (capacity - self.usual.per_second).max(LEAST_SPARE * capacity);
        let step = 1.0 / (UTILISATION * spare);
        let span =
            |places: f64| Duration::from_secs_f64((places * step).min(2.0 * HORIZON.as_secs_f64()));
        let place = self.booked.max(now + span(waiting as f64)) + span(1.0);
        let wait = place.since(now);
        if wait > HORIZON {
            return HORIZON + HORIZON.mul_f64(self.next_fraction());
        }
        self.booked = place;
        self.owed += 1.0;
        wait
    }

    /// How many of those who were told to come should have come since this was last asked.
    fn due(&mut self, now: Timestamp) -> f64 {
        let (left, passed) = (self.booked.since(self.looked), now.since(self.looked));
        let share = if passed < left { passed.div_duration_f64(left) } else { 1.0 };
        let due = share * self.owed;
        self.owed -= due;
        self.looked = self.looked.max(now);
        due
    }

    /// Fractions in 0..1 that fill the interval evenly: multiples of the golden ratio.
    fn next_fraction(&mut self) -> f64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        self.spread = self.spread.wrapping_add(GOLDEN);
        (self.spread >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Events a second, the older the less they count; a burst does not pass for the rule.
#[derive(Debug, Default)]
struct Usual {
    per_second: f64,
    /// Seconds that this rests on.
    known: f64,
    /// Events since `at`.
    pending: f64,
    at: Timestamp,
}

/// Time constant of forgetting, in seconds.
const MEMORY: f64 = 30.0;
/// Time between two looks, in seconds.
const LOOK: f64 = 1.0;
/// Between two looks no more count than so many times the usual, and some.
const BURST: f64 = 2.0;
const SOME: f64 = 8.0;

impl Usual {
    /// `count` events since the last call.
    fn add(&mut self, count: f64, now: Timestamp) {
        self.pending += count;
        let span = now.since(self.at).as_secs_f64();
        if span < LOOK {
            return;
        }
        let most = if self.known > 0.0 { BURST * self.per_second * span + SOME } else { f64::MAX };
        self.known += span;
        let gain = (-span / MEMORY).exp_m1().abs().max(span / self.known);
        self.per_second += gain * (self.pending.min(most) / span - self.per_second);
        self.per_second = self.per_second.max(0.0);
        (self.pending, self.at) = (0.0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs_f64(seconds)
    }

    /// Five minutes of `rate` requests a second.
    fn after_five_minutes_of(rate: u32) -> Reservations {
        let mut reservations = Reservations::new();
        for n in 0..300 * rate {
            reservations.admitted(1, at(f64::from(n) / f64::from(rate)));
        }
        reservations
    }

    #[test]
    fn nobody_shares_a_place() {
        let mut reservations = after_five_minutes_of(50);
        let waits: Vec<_> = (0..20).map(|_| reservations.book(Some(100.0), 0, at(300.0))).collect();
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    }

    #[test]
    fn the_refused_of_a_burst_return_no_faster_than_spare_capacity_and_not_much_slower() {
        let mut reservations = after_five_minutes_of(50);
        let waits = (0..200).map(|_| reservations.book(Some(100.0), 0, at(300.0)));
        let last = waits.max().expect("200 booked").as_secs_f64();
        assert!((4.0..6.0).contains(&last), "200 at some 50 a second: {last} s");
    }

    #[test]
    fn past_the_horizon_nothing_is_promised_and_nothing_exceeds_a_minute() {
        let mut reservations = after_five_minutes_of(10);
        for _ in 0..100_000 {
            assert!(reservations.book(Some(10.0), 0, at(300.0)) <= 2 * HORIZON);
        }
    }

    #[test]
    fn without_a_measurement_the_refused_are_still_spread() {
        let mut reservations = Reservations::new();
        let waits: Vec<_> = (0..1_000).map(|_| reservations.book(None, 0, at(0.0))).collect();
        for second in 1..5 {
            let within = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let share = waits.iter().filter(|wait| within.contains(wait)).count();
            assert!((240..=260).contains(&share), "second {second}: {share}");
        }
    }

    #[test]
    fn places_that_nobody_took_expire() {
        let mut reservations = after_five_minutes_of(100);
        for _ in 0..50 {
            reservations.book(Some(100.0), 0, at(300.0));
        }
        assert!(reservations.book(Some(100.0), 0, at(600.0)) < Duration::from_secs(1));
    }

    #[test]
    fn bulk_reports_count_like_single_ones() {
        let mut reservations = Reservations::new();
        for second in 1..=300 {
            reservations.admitted(50, at(f64::from(second)));
        }
        let single = after_five_minutes_of(50).usual.per_second;
        let bulk = reservations.usual.per_second;
        assert!((single / bulk - 1.0).abs() < 0.02, "{single} and {bulk}");
    }

    #[test]
    fn a_burst_does_not_pass_for_the_rule() {
        let mut reservations = after_five_minutes_of(50);
        for _ in 0..10_000 {
            reservations.book(Some(100.0), 0, at(300.0));
        }
        reservations.admitted(50, at(301.0));
        let usual = reservations.usual.per_second;
        assert!((49.0..55.0).contains(&usual), "{usual}");
    }

    #[test]
    fn who_comes_back_when_told_is_not_taken_for_demand() {
        let mut reservations = after_five_minutes_of(50);
        for _ in 0..1_000 {
            reservations.book(Some(100.0), 0, at(300.0));
        }
        for second in 301..320 {
            reservations.admitted(98, at(f64::from(second)));
        }
        let usual = reservations.usual.per_second;
        assert!((48.0..54.0).contains(&usual), "{usual}");
    }

    #[test]
    fn demand_that_has_risen_is_learnt() {
        let mut reservations = after_five_minutes_of(50);
        for second in 301..400 {
            reservations.admitted(500, at(f64::from(second)));
        }
        let usual = reservations.usual.per_second;
        assert!((400.0..520.0).contains(&usual), "{usual}");
    }

    #[test]
    fn those_who_wait_come_first() {
        let mut reservations = after_five_minutes_of(50);
        let wait = reservations.book(Some(100.0), 100, at(300.0)).as_secs_f64();
        assert!((2.0..2.3).contains(&wait), "100 waiting, 50 a second to spare: {wait} s");
    }
}
