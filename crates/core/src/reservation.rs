//! When the refused may come back.

use std::time::Duration;

use crate::time::Timestamp;

/// Hands out places in the future, so that the refused return one by one, as fast as they can be
/// served and no faster.
///
/// `vt = max(vt, now) + 1 / (η · spare)`; the answer is `vt − now`. What is spare is what the
/// service can do less what usually arrives. A constant Retry-After brings every
/// refused caller back in the same second.
#[derive(Debug)]
pub(crate) struct Reservations {
    /// The last place handed out.
    booked: Timestamp,
    /// Requests a second that arrive, over so long that a burst does not pass for the rule.
    offered: Rate,
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
        Self { booked: Timestamp::ZERO, offered: Rate::over(30.0), spread: 0 }
    }

    /// `count` requests got to run since the last call.
    pub(crate) fn admitted(&mut self, count: u32, now: Timestamp) {
        self.offered.add(f64::from(count), now);
    }

    /// Books the return of a request that is refused now, by a service that can do `capacity`
    /// requests a second; `None`: nobody knows.
    pub(crate) fn book(&mut self, capacity: Option<f64>, now: Timestamp) -> Duration {
        self.offered.add(1.0, now);
        let Some(capacity) = capacity else {
            return Duration::from_secs_f64(1.0 + BLIND_SPREAD * self.next_fraction());
        };
        let spare = (capacity - self.offered.at(now)).max(LEAST_SPARE * capacity);
        let step = (1.0 / (UTILISATION * spare)).min(HORIZON.as_secs_f64());
        self.booked = self.booked.max(now) + Duration::from_secs_f64(step);
        let wait = self.booked.since(now);
        if wait <= HORIZON {
            return wait;
        }
        self.booked = now + HORIZON;
        HORIZON + HORIZON.mul_f64(self.next_fraction())
    }

    /// Fractions in 0..1 that fill the interval evenly: multiples of the golden ratio.
    fn next_fraction(&mut self) -> f64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        self.spread = self.spread.wrapping_add(GOLDEN);
        (self.spread >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Events a second, the older the less they count.
#[derive(Debug)]
struct Rate {
    /// Time constant of forgetting, in seconds.
    memory: f64,
    per_second: f64,
    /// Events reported for the present instant, which has no length yet.
    pending: f64,
    at: Timestamp,
}

impl Rate {
    const fn over(memory: f64) -> Self {
        Self { memory, per_second: 0.0, pending: 0.0, at: Timestamp::ZERO }
    }

    /// `count` events since the last call, evenly.
    fn add(&mut self, count: f64, now: Timestamp) {
        self.pending += count;
        let span = now.since(self.at).as_secs_f64();
        if span > 0.0 {
            let kept = (-span / self.memory).exp();
            self.per_second = kept * self.per_second + (1.0 - kept) * self.pending / span;
            (self.pending, self.at) = (0.0, now);
        }
    }

    fn at(&self, now: Timestamp) -> f64 {
        self.per_second * (-now.since(self.at).as_secs_f64() / self.memory).exp()
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
        let waits: Vec<_> = (0..20).map(|_| reservations.book(Some(100.0), at(300.0))).collect();
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    }

    #[test]
    fn the_refused_of_a_burst_return_no_faster_than_spare_capacity_and_not_much_slower() {
        let mut reservations = after_five_minutes_of(50);
        let waits = (0..200).map(|_| reservations.book(Some(100.0), at(300.0)));
        let last = waits.max().expect("200 booked").as_secs_f64();
        assert!((4.0..6.0).contains(&last), "200 at some 50 a second: {last} s");
    }

    #[test]
    fn past_the_horizon_nothing_is_promised_and_nothing_exceeds_a_minute() {
        let mut reservations = after_five_minutes_of(10);
        for _ in 0..100_000 {
            assert!(reservations.book(Some(10.0), at(300.0)) <= 2 * HORIZON);
        }
    }

    #[test]
    fn without_a_measurement_the_refused_are_still_spread() {
        let mut reservations = Reservations::new();
        let waits: Vec<_> = (0..1_000).map(|_| reservations.book(None, at(0.0))).collect();
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
            reservations.book(Some(100.0), at(300.0));
        }
        assert!(reservations.book(Some(100.0), at(600.0)) < Duration::from_secs(1));
    }

    #[test]
    fn bulk_reports_count_like_single_ones() {
        let mut reservations = Reservations::new();
        for second in 1..=300 {
            reservations.admitted(50, at(f64::from(second)));
        }
        let single = after_five_minutes_of(50).offered.at(at(300.0));
        let bulk = reservations.offered.at(at(300.0));
        assert!((single / bulk - 1.0).abs() < 0.02, "{single} and {bulk}");
    }
}
