//! When refused requests may come back.

use std::time::Duration;

use crate::time::Timestamp;

/// Hands out moments in the future, so that refused requests return one by one, as fast as they can
/// be served and no faster. A constant Retry-After brings all of them back in the same second.
///
/// The next moment is `max(next, now) + ρ / rate`: of what is handed out a share ρ is kept, and the
/// rate is what the service can do less what comes without having been told to. Requests that wait
/// in the queue come first.
///
/// A caller cannot be told from another here, so ρ is measured: of the arrivals that were due in a
/// second, how many came? Callers that never return, or that ask again at once, make it fall, and
/// what was handed out to them lapses.
#[derive(Debug)]
pub(crate) struct RetryAfterSchedule {
    /// The last moment handed out.
    next: Timestamp,
    /// Moments handed out, by the second in which they are due: a ring.
    due: [f64; SLOTS],
    /// The second that is being counted, since the epoch.
    second: u64,
    /// Arrivals in it, and those of them that were known to come when told.
    arrived: f64,
    returned: f64,
    /// Means over the last few seconds, and over four times as many.
    lately: Counts,
    longer: Counts,
    /// Arrivals in the two seconds before.
    before: [f64; 2],
    /// Arrivals a second that come without having been told to.
    unprompted: f64,
    /// Seconds that this rests on.
    known: f64,
    /// The share of what is handed out that is kept.
    kept: f64,
    /// Spreads what is beyond the horizon evenly.
    spread: u64,
}

/// What happens in a second: arrivals, those of them that are known to return, and those due.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    arrived: f64,
    returned: f64,
    due: f64,
}

impl Counts {
    /// Weighs in another second.
    fn add(&mut self, gain: f64, arrived: f64, returned: f64, due: f64) {
        self.arrived += gain * (arrived - self.arrived);
        self.returned += gain * (returned - self.returned);
        self.due += gain * (due - self.due);
    }
}

/// Part of the rate that is handed out: the rest absorbs chance and the callers' own jitter.
const UTILISATION: f64 = 0.95;
/// As long as nothing was seen, refused requests are spread over this many seconds after the first.
const BLIND_SPREAD: f64 = 4.0;
/// The share of capacity that is handed out even where new requests alone would fill it, where
/// requests prove that they return. They go before new ones, so this can be kept; half leaves as much
/// to the others.
const SHARE_OF_RETURNS: f64 = 0.5;
/// The same where none does. Returning requests then find what new ones leave them, whenever they come.
const LEAST_SHARE: f64 = 0.05;
/// So many turns of the service are handed out at the larger share in any case: a few callers of a
/// small service are not told to wait for minutes because one of them asks often.
const NEAR_TURNS: f64 = 8.0;
/// The longest wait in seconds: what clients commonly accept as a Retry-After. Where it is not enough,
/// waits are spread over its second half.
const HORIZON: f64 = 60.0;
/// The same where new requests alone are more than can be served and none proves that it returns. Long
/// enough that callers who obey add little to them, and short enough for clients with a deadline.
const FLOOD_HORIZON: f64 = 10.0;
/// Time constant in seconds of the rate of unprompted arrivals. A herd that takes ten seconds to come
/// back must not pass for it, nor a change of demand stay unknown for minutes.
const MEMORY: f64 = 30.0;
/// Time constant in seconds of what happened lately. Whole seconds and jitter make callers up to two
/// seconds late.
const LATENESS: f64 = 2.0;

/// The least share that is taken to be kept: no two requests are given the same moment.
const LEAST_KEPT: f64 = 0.01;
/// Seconds that the ring holds: the horizon, and the second that has begun.
const SLOTS: usize = 64;

impl RetryAfterSchedule {
    pub(crate) fn new() -> Self {
        Self {
            next: Timestamp::ZERO,
            due: [0.0; SLOTS],
            second: 0,
            arrived: 0.0,
            returned: 0.0,
            lately: Counts::default(),
            longer: Counts::default(),
            before: [0.0; 2],
            unprompted: 0.0,
            known: 0.0,
            kept: 1.0,
            // Not quite a whole second: a refusal may be held for the fraction.
            spread: 1 << 58,
        }
    }

    /// `count` requests came since the last call, new ones as far as is known.
    pub(crate) fn arrived(&mut self, count: u32, now: Timestamp) {
        self.pass(now);
        self.arrived += f64::from(count);
    }

    /// A request came that is known to come when it was told to.
    pub(crate) fn returned(&mut self, now: Timestamp) {
        self.arrived(1, now);
        self.returned += 1.0;
    }

    /// Hands out the moment for a request that is refused now, by a service that finishes `capacity`
    /// requests a second (`None`: nothing was seen yet), behind `ahead` others that wait.
    pub(crate) fn book(&mut self, capacity: Option<f64>, ahead: usize, now: Timestamp) -> Duration {
        self.pass(now);
        let wait = match capacity {
            Some(capacity) => self.next_moment(capacity, ahead, now),
            None => seconds(1.0 + BLIND_SPREAD * self.next_fraction()),
        };
        self.due[slot((now + wait).since(Timestamp::ZERO).as_secs())] += 1.0;
        wait
    }

    fn next_moment(&mut self, capacity: f64, ahead: usize, now: Timestamp) -> Duration {
        let is_near = self.next.since(now).as_secs_f64() * capacity < NEAR_TURNS;
        let least = if is_near || self.knows_returns() { SHARE_OF_RETURNS } else { LEAST_SHARE };
        let spare = (capacity - self.unprompted).max(least * capacity);
        let step = 1.0 / (UTILISATION * spare);
        // Where new requests alone are too many, no moment is better than another without proof.
        let is_flooded = self.unprompted > capacity && !self.knows_returns();
        let flood_horizon = FLOOD_HORIZON.max(NEAR_TURNS / capacity).min(HORIZON);
        let horizon = if is_flooded { flood_horizon } else { HORIZON };
        let queue = self.next.max(now + seconds(ahead as f64 * step));
        let next = queue + seconds(self.kept * step);
        let mut wait = next.since(now).max(Duration::from_nanos(1));
        if wait <= seconds(horizon) {
            self.next = next;
        } else {
            wait = seconds(horizon * (1.0 + self.next_fraction()) / 2.0);
        }
        wait
    }

    /// Closes the seconds that are over.
    fn pass(&mut self, now: Timestamp) {
        let second = now.since(Timestamp::ZERO).as_secs();
        // After twice the ring nothing is left to forget.
        self.second = self.second.max(second.saturating_sub(2 * SLOTS as u64));
        while self.second < second {
            self.close();
            self.second += 1;
        }
    }

    /// Learns from a second that is over.
    fn close(&mut self) {
        let due = std::mem::take(&mut self.due[slot(self.second)]);
        let arrived = std::mem::take(&mut self.arrived);
        let returned = std::mem::take(&mut self.returned);
        let least = self.before.iter().fold(arrived, |least, &count| least.min(count));
        self.before = [self.before[1], arrived];
        self.lately.add(1.0 / LATENESS, arrived, returned, due);
        self.longer.add(0.25 / LATENESS, arrived, returned, due);
        let kept = match self.knows_returns() {
            true => (self.longer.returned / self.longer.due).min(1.0),
            false => self.kept_by_count(least),
        };
        self.lapse(kept);
        let prompted = if self.knows_returns() { returned } else { self.kept * due };
        self.learn_unprompted(arrived - prompted);
    }

    /// How long so many turns take where `capacity` requests a second are finished; nothing is booked.
    pub(crate) fn in_turn(capacity: Option<f64>, turns: usize) -> Duration {
        seconds((turns as f64 / capacity.unwrap_or(1.0)).clamp(1e-9, HORIZON))
    }

    /// Whether requests prove that they return: some did within a minute or so.
    fn knows_returns(&self) -> bool {
        self.longer.returned > 0.01
    }

    /// Where less is kept than was thought, what was handed out is served sooner.
    fn lapse(&mut self, kept: f64) {
        let now = Timestamp::ZERO + Duration::from_secs(self.second + 1);
        let left = self.next.since(now).mul_f64((kept / self.kept).min(1.0));
        self.next = self.next.min(now + left);
        self.kept = kept.max(LEAST_KEPT);
    }

    /// The share that is kept where no caller says that it returns: the arrivals beyond the unprompted
    /// ones are compared with those that were due.
    ///
    /// Fewer: callers did not return. For seconds on end more than twice as many as were expected to
    /// return: callers ask again without being told to, and those due cannot be told from them. A
    /// single second with many is a burst of new callers.
    fn kept_by_count(&self, least: f64) -> f64 {
        let Counts { arrived, due, .. } = self.lately;
        let mut kept = self.kept;
        if due > 0.0 {
            // Less one: a single caller that asks every second returns nobody's promise but its own.
            let beyond = arrived - self.unprompted - 1.0;
            let (flood, expected) = (least - self.unprompted, 2.0 * kept * due);
            let came = if flood > expected { kept * expected / flood } else { beyond / due };
            // A difference of two Poisson counts: the more are due, the more it says.
            let gain = due * due / (due * due + arrived + 1.0);
            kept += gain * (came.clamp(0.0, 1.0) - kept);
        }
        // What was learnt of callers is forgotten within a minute: new ones are taken at their word.
        kept + (1.0 - kept) / (2.0 * MEMORY)
    }

    /// A burst does not pass for the rule: twice the usual and a few count at most.
    fn learn_unprompted(&mut self, arrived: f64) {
        let most = if self.known > 0.0 { 2.0 * self.unprompted + 8.0 } else { f64::MAX };
        self.known = (self.known + 1.0).min(MEMORY);
        self.unprompted += (arrived.clamp(0.0, most) - self.unprompted) / self.known;
    }

    /// Fractions in 0..1 that fill the interval evenly: multiples of the golden ratio.
    fn next_fraction(&mut self) -> f64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let fraction = (self.spread >> 11) as f64 / (1u64 << 53) as f64;
        self.spread = self.spread.wrapping_add(GOLDEN);
        fraction
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

const fn slot(second: u64) -> usize {
    (second % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs_f64(seconds)
    }

    /// Five minutes of `rate` requests a second.
    fn after_five_minutes_of(rate: u32) -> RetryAfterSchedule {
        let mut schedule = RetryAfterSchedule::new();
        for n in 0..300 * rate {
            schedule.arrived(1, at(f64::from(n) / f64::from(rate)));
        }
        schedule
    }

    #[test]
    fn no_two_requests_are_given_the_same_moment() {
        let mut schedule = after_five_minutes_of(50);
        let waits: Vec<_> = (0..20).map(|_| schedule.book(Some(100.0), 0, at(300.0))).collect();
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    }

    #[test]
    fn a_refused_burst_returns_no_faster_than_spare_capacity_and_not_much_slower() {
        let mut schedule = after_five_minutes_of(50);
        let waits = (0..200).map(|_| schedule.book(Some(100.0), 0, at(300.0)));
        let last = waits.max().expect("200 booked").as_secs_f64();
        assert!((4.0..4.5).contains(&last), "200 at some 50 a second: {last} s");
    }

    #[test]
    fn past_the_horizon_the_wait_is_spread_and_never_exceeds_a_minute() {
        let mut schedule = after_five_minutes_of(10);
        for _ in 0..100_000 {
            assert!(schedule.book(Some(10.0), 0, at(300.0)).as_secs_f64() <= HORIZON);
        }
        for capacity in [0.0, f64::NAN, f64::INFINITY] {
            let wait = schedule.book(Some(capacity), 3, at(300.0));
            assert!(wait > Duration::ZERO && wait.as_secs_f64() <= HORIZON, "{capacity}: {wait:?}");
        }
    }

    #[test]
    fn without_a_measurement_the_refused_are_spread_and_the_first_is_told_little_more_than_a_second()
     {
        let mut schedule = RetryAfterSchedule::new();
        let waits: Vec<_> = (0..1_000).map(|_| schedule.book(None, 0, at(0.0))).collect();
        assert!(waits[0] < Duration::from_millis(1_100), "{:?}", waits[0]);
        for second in 1..5 {
            let within = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let share = waits.iter().filter(|wait| within.contains(wait)).count();
            assert!((240..=260).contains(&share), "second {second}: {share}");
        }
    }

    #[test]
    fn what_is_due_is_over() {
        let mut schedule = after_five_minutes_of(100);
        for _ in 0..50 {
            schedule.book(Some(100.0), 0, at(300.0));
        }
        assert!(schedule.book(Some(100.0), 0, at(600.0)) < Duration::from_millis(100));
    }

    #[test]
    fn promises_that_are_not_kept_lapse_within_seconds() {
        let mut schedule = RetryAfterSchedule::new();
        let last =
            (0..150).map(|_| schedule.book(Some(6.7), 0, at(60.0))).max().expect("150 booked");
        assert!(last > Duration::from_secs(20), "{last:?}");
        // Nothing comes back, but for one that asks once a second.
        let told = |schedule: &mut RetryAfterSchedule, second| {
            schedule.arrived(1, at(second));
            schedule.book(Some(6.7), 0, at(second)).as_secs_f64()
        };
        let waits: Vec<_> = (61..70).map(|n| told(&mut schedule, f64::from(n))).collect();
        assert!(waits[3..].iter().all(|&wait| wait < 3.0), "{waits:?}");
    }

    #[test]
    fn a_flood_that_asks_again_at_once_books_less_and_less() {
        let mut schedule = after_five_minutes_of(1);
        let mut last = 0.0;
        for n in 0..6_000 {
            let now = at(300.0 + f64::from(n) / 200.0);
            schedule.arrived(1, now);
            last = schedule.book(Some(50.0), 0, now).as_secs_f64();
        }
        assert!(last < 15.0, "four times the capacity, none of it returns: {last} s");
    }

    #[test]
    fn a_few_that_return_when_told_keep_their_wait_short_beside_a_flood() {
        let mut schedule = RetryAfterSchedule::new();
        let mut returns = std::collections::BTreeSet::new();
        let mut waits = Vec::new();
        for n in 0..30_000 {
            let now = at(f64::from(n) / 500.0);
            while returns.first().is_some_and(|&first| first <= now) {
                returns.pop_first();
                schedule.returned(now);
            }
            schedule.arrived(1, now);
            let wait = schedule.book(Some(200.0), 0, now);
            // One in ten obeys, rounded up and up to a second late.
            if n % 10 == 0 {
                let seconds = wait.as_secs_f64().ceil() + f64::from(n % 97) / 97.0;
                returns.insert(now + Duration::from_secs_f64(seconds));
                waits.push(wait.as_secs_f64());
            }
        }
        let late = &waits[500..];
        let longest = late.iter().fold(0.0, |longest: f64, &wait| longest.max(wait));
        assert!(longest < 12.0, "{longest}");
    }

    #[test]
    fn bulk_reports_count_like_single_ones() {
        let mut schedule = RetryAfterSchedule::new();
        for second in 1..=300 {
            schedule.arrived(50, at(f64::from(second)));
        }
        let (single, bulk) = (after_five_minutes_of(50).unprompted, schedule.unprompted);
        assert!((single / bulk - 1.0).abs() < 0.02, "{single} and {bulk}");
    }

    #[test]
    fn a_burst_does_not_pass_for_the_rule() {
        let mut schedule = after_five_minutes_of(50);
        schedule.arrived(10_000, at(300.0));
        schedule.arrived(50, at(301.0));
        schedule.arrived(50, at(302.0));
        assert!((49.0..55.0).contains(&schedule.unprompted), "{}", schedule.unprompted);
    }

    #[test]
    fn a_herd_that_returns_when_told_is_not_taken_for_demand() {
        let mut schedule = after_five_minutes_of(50);
        for _ in 0..1_000 {
            schedule.arrived(1, at(300.0));
            schedule.book(Some(100.0), 0, at(300.0));
        }
        for second in 301..320 {
            schedule.arrived(98, at(f64::from(second)));
        }
        assert!((46.0..56.0).contains(&schedule.unprompted), "{}", schedule.unprompted);
        assert!(schedule.kept > 0.8, "{}", schedule.kept);
    }

    #[test]
    fn demand_that_has_risen_is_learnt() {
        let mut schedule = after_five_minutes_of(50);
        for second in 301..400 {
            schedule.arrived(500, at(f64::from(second)));
        }
        assert!((400.0..520.0).contains(&schedule.unprompted), "{}", schedule.unprompted);
    }

    #[test]
    fn requests_that_wait_in_the_queue_come_first() {
        let mut schedule = after_five_minutes_of(50);
        let wait = schedule.book(Some(100.0), 100, at(300.0)).as_secs_f64();
        assert!((2.0..2.3).contains(&wait), "100 waiting, 50 a second to spare: {wait} s");
    }
}
