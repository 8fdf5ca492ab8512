//! When the refused may come back.

use std::time::Duration;

use crate::time::Timestamp;

/// Hands out places in the future, so that the refused return one by one, as fast as they can be
/// served and no faster.
///
/// `vt = max(vt, now) + 1 / (η · spare)`; the answer is `vt − now`. What is spare is what the
/// service completes less what arrives for the first time. A constant Retry-After brings every
/// refused caller back in the same second.
#[derive(Debug)]
pub(crate) struct Reservations {
    /// The last place handed out.
    booked: Timestamp,
    /// Attempts a second that finish, over the last second or so.
    finished: Rate,
    /// Attempts a second that arrive, over so long that a burst does not pass for the rule.
    offered: Rate,
    /// Places promised past the horizon; spreads them evenly.
    spread: u64,
}

/// Part of the spare capacity that is promised: the rest absorbs the callers' own jitter.
const UTILISATION: f64 = 0.95;
/// Even a service without anything to spare promises this share of what it completes.
const LEAST_SPARE: f64 = 0.02;
/// Nothing is promised past this. Twice the horizon is the longest answer: 60 s is what clients
/// commonly accept as a Retry-After.
const HORIZON: Duration = Duration::from_secs(30);
/// Without a measured rate the refused are spread over this many seconds.
const BLIND_SPREAD: f64 = 4.0;

impl Reservations {
    pub(crate) fn new() -> Self {
        Self {
            booked: Timestamp::ZERO,
            finished: Rate::over(1.0),
            offered: Rate::over(30.0),
            spread: 0,
        }
    }

    /// `count` attempts ran to their end.
    pub(crate) fn finished(&mut self, count: u32, now: Timestamp) {
        self.finished.add(f64::from(count), now);
        self.offered.add(f64::from(count), now);
    }

    /// Books the return of a request that is refused now.
    pub(crate) fn book(&mut self, now: Timestamp) -> Duration {
        self.offered.add(1.0, now);
        let capacity = self.finished.at(now);
        if capacity <= 0.0 {
            return Duration::from_secs_f64(1.0 + BLIND_SPREAD * self.next_fraction());
        }
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
    at: Timestamp,
}

impl Rate {
    const fn over(memory: f64) -> Self {
        Self { memory, per_second: 0.0, at: Timestamp::ZERO }
    }

    fn add(&mut self, count: f64, now: Timestamp) {
        self.per_second = self.at(now) + count / self.memory;
        self.at = self.at.max(now);
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

    /// A service that completes `rate` a second and has done so for a minute.
    fn serving(rate: u32) -> Reservations {
        let mut reservations = Reservations::new();
        for n in 0..60 * rate {
            reservations.finished(1, at(f64::from(n) / f64::from(rate)));
        }
        reservations
    }

    #[test]
    fn nobody_shares_a_place() {
        let mut reservations = serving(100);
        let waits: Vec<_> = (0..20).map(|_| reservations.book(at(60.0))).collect();
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    }

    #[test]
    fn the_refused_of_a_burst_return_no_faster_than_spare_capacity() {
        let mut reservations = Reservations::new();
        for n in 0..3_000 {
            reservations.finished(1, at(f64::from(n) / 50.0));
        }
        for n in 0..100 {
            reservations.finished(1, at(60.0 + f64::from(n) / 100.0));
        }
        let last = (0..200).map(|_| reservations.book(at(61.0))).max().expect("200 booked");
        assert!(last >= Duration::from_secs(4), "200 at no more than 50 a second: {last:?}");
    }

    #[test]
    fn past_the_horizon_nothing_is_promised_and_nothing_exceeds_a_minute() {
        let mut reservations = serving(10);
        for _ in 0..100_000 {
            assert!(reservations.book(at(60.0)) <= 2 * HORIZON);
        }
    }

    #[test]
    fn without_a_rate_the_refused_are_still_spread() {
        let mut reservations = Reservations::new();
        let waits: Vec<_> = (0..1_000).map(|_| reservations.book(at(0.0))).collect();
        for second in 1..5 {
            let within = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let share = waits.iter().filter(|wait| within.contains(wait)).count();
            assert!((240..=260).contains(&share), "second {second}: {share}");
        }
    }

    #[test]
    fn places_that_nobody_took_expire() {
        let mut reservations = serving(100);
        for _ in 0..50 {
            reservations.book(at(60.0));
        }
        for n in 0..100 {
            reservations.finished(1, at(600.0 + f64::from(n) / 100.0));
        }
        assert!(reservations.book(at(601.0)) < Duration::from_secs(1));
    }
}
