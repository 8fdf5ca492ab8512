//! Schedules when rejected requests should come back (Retry-After).

use std::time::Duration;

use crate::ewma::Ewma;
use crate::time::Timestamp;

/// Reserves moments in the future, so that rejected requests come back one by one, as fast as they can
/// be served. A constant Retry-After brings all of them back within the same second.
///
/// The next moment is `max(previous, now + queued / throughput) + kept_share / spare`, and as much later as permits
/// are stuck. `spare` is the throughput
/// of the service less the requests that come without having been told to. `kept_share` is the share of the
/// reservations that clients keep: how many arrive of those due. It falls when clients never come back, or retry
/// at once; what was reserved for them is then given to others.
///
/// Single clients are not told apart, except for requests that prove that they come back when told.
#[derive(Debug)]
pub(crate) struct RetryAfterSchedule {
    /// The last moment reserved.
    last_reserved: Timestamp,
    /// Reservations by the second in which they are due: a ring.
    due: [u32; RING_SECS],
    /// The second that is being counted, since the epoch.
    second: u64,
    /// Arrivals in it.
    arrived: u32,
    /// The same in the first half of the first second of all.
    arrived_at_first: u32,
    /// Those that proved to come back when told.
    returned: u32,
    /// Arrivals in each of the two seconds before.
    arrived_before: [u32; 2],
    /// Arrivals and due reservations a second, over [`RECENT_SECS`].
    recent_arrived: Ewma,
    recent_due: Ewma,
    /// Proven returns a second, and the reservations that they keep, over [`RETURNS_SECS`].
    mean_returned: Ewma,
    mean_due: Ewma,
    /// Reservations that were due in the second before.
    due_before: f64,
    /// Arrivals a second that come without having been told to.
    unprompted: Ewma,
    /// The share of the reservations that clients keep.
    kept_share: f64,
    /// State of [`next_fraction`](Self::next_fraction).
    sequence: u64,
}

/// Share of the spare throughput that is reserved. The rest absorbs chance and late clients: at 1 the
/// returns would fill the service, and a queue of them would never drain.
const RESERVED_SHARE: f64 = 0.95;
/// As long as the throughput is unknown, rejected requests are spread over this many seconds after the
/// first one. A handler that takes a second is measured by then; with more, a fast service idles.
const UNMEASURED_SPREAD_SECS: f64 = 4.0;
/// Share of the throughput reserved at least where requests prove that they come back. These go before
/// new requests, so the service can keep this promise. More, and new requests would hardly run: all are told to
/// come back, and as many come as are served. Less, and clients wait longer than needed for what new requests
/// leave when they become fewer: 1.45 times as long after 20 s of three times the capacity with a half, 1.12 with
/// three quarters.
const MIN_SHARE_PROVEN: f64 = 0.75;
/// The same where none proves it: a request that comes back then finds what new ones leave, whatever
/// it was told. At 0 the wait would be endless.
const MIN_SHARE_UNPROVEN: f64 = 0.05;
/// As long as no more than this is promised, counted in requests that the service finishes until the last moment
/// reserved, [`MIN_SHARE_FEW`] holds. With none, a few callers of a small service would be told to wait for minutes
/// because one of them retries often.
const FEW_RESERVATIONS: f64 = 8.0;
/// Share of the throughput reserved at least where few are promised: the next permits that are released.
const MIN_SHARE_FEW: f64 = 1.0;
/// The longest wait: what clients commonly accept as a Retry-After. Where it does not suffice, waits are
/// spread over its second half.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);
const MAX_WAIT_SECS: f64 = MAX_WAIT.as_secs() as f64;
/// The same where new requests alone exceed the throughput and none proves that it comes back. Shorter,
/// and clients that obey would add to the flood; longer, and clients with a deadline would give up.
const MAX_WAIT_IN_FLOOD_SECS: f64 = 10.0;
/// Time constant of the rate of unprompted requests. Shorter, and a herd that takes ten seconds to come
/// back would count as unprompted; longer, and a change of demand would stay unknown for minutes.
const UNPROMPTED_SECS: u32 = 30;
/// Time constant of what is compared with the reservations. Whole seconds and jitter make clients up to
/// two seconds late.
const RECENT_SECS: u32 = 2;
/// Time constant of the proven returns: they may be few, so that eight times as long is needed. With half of it
/// chance makes the kept share fall at times, and more are told to come than can be served.
const RETURNS_SECS: u32 = 8 * RECENT_SECS;
/// Fewer proven returns a second than this, by their mean, are none: the last one was a minute ago.
const MIN_PROVEN_RETURNS: f64 = 0.01;
/// The least share taken to be kept, so that no two requests are told the same moment.
const MIN_KEPT_SHARE: f64 = 0.01;
/// Seconds in the ring: the longest wait and the second that has begun, as a power of two.
const RING_SECS: usize = 64;
/// Half of the first second.
const FIRST_HALF: Duration = Duration::from_millis(500);

impl RetryAfterSchedule {
    pub(crate) const fn new() -> Self {
        Self {
            last_reserved: Timestamp::ZERO,
            due: [0; RING_SECS],
            second: 0,
            arrived: 0,
            arrived_at_first: 0,
            returned: 0,
            arrived_before: [0; 2],
            recent_arrived: Ewma::settled_at(0.0, RECENT_SECS),
            recent_due: Ewma::settled_at(0.0, RECENT_SECS),
            mean_returned: Ewma::settled_at(0.0, RETURNS_SECS),
            mean_due: Ewma::settled_at(0.0, RETURNS_SECS),
            due_before: 0.0,
            unprompted: Ewma::new(UNPROMPTED_SECS),
            kept_share: 1.0,
            // The first fraction is 1/64, so that the first wait is hardly longer than a second: a
            // response may be delayed by what it exceeds the second.
            sequence: 1 << 58,
        }
    }

    /// `count` requests arrived since the last call that do not prove that they were told to.
    pub(crate) fn arrived(&mut self, count: u32, now: Timestamp) {
        self.advance(now);
        self.arrived = self.arrived.saturating_add(count);
        if now.since(Timestamp::ZERO) < FIRST_HALF {
            self.arrived_at_first = self.arrived;
        }
    }

    /// A request arrived that proves that it comes when it was told to.
    pub(crate) fn returned(&mut self, now: Timestamp) {
        self.arrived(1, now);
        self.returned = self.returned.saturating_add(1);
    }

    /// Reserves the moment for a request that is rejected now, behind `queued` others; how long until
    /// then. The service finishes `throughput` requests a second; `None`: unknown. It finishes none for the time
    /// that it is `stuck`.
    pub(crate) fn reserve(
        &mut self,
        throughput: Option<f64>,
        queued: usize,
        stuck: Duration,
        now: Timestamp,
    ) -> Duration {
        self.advance(now);
        let wait = match throughput {
            Some(throughput) => self.next_wait(throughput, queued, stuck, now),
            None => stuck + seconds(1.0 + UNMEASURED_SPREAD_SECS * self.next_fraction()),
        };
        let due = &mut self.due[slot((now + wait).since(Timestamp::ZERO).as_secs())];
        *due = due.saturating_add(1);
        wait
    }

    fn next_wait(
        &mut self,
        throughput: f64,
        queued: usize,
        stuck: Duration,
        now: Timestamp,
    ) -> Duration {
        let unprompted = self.unprompted.mean();
        let outstanding = self.last_reserved.since(now).as_secs_f64() * throughput;
        let min_share = match self.has_proven_returns() {
            _ if outstanding < FEW_RESERVATIONS => MIN_SHARE_FEW,
            true => MIN_SHARE_PROVEN,
            false => MIN_SHARE_UNPROVEN,
        };
        let spare = (throughput - unprompted).max(min_share * throughput);
        let step = 1.0 / (RESERVED_SHARE * spare);
        // Where new requests alone are too many, no moment is better than another without proof.
        let max_wait = match unprompted > throughput && !self.has_proven_returns() {
            true => MAX_WAIT_IN_FLOOD_SECS.max(FEW_RESERVATIONS / throughput).min(MAX_WAIT_SECS),
            false => MAX_WAIT_SECS,
        };
        // Queued requests run as fast as the service can, whatever arrives behind them.
        let queue_ends = now + seconds(queued as f64 / (RESERVED_SHARE * throughput));
        let previous = self.last_reserved.max(queue_ends);
        let next = previous + seconds(self.kept_share * step);
        let wait = stuck + next.since(now).max(Duration::from_nanos(1));
        if wait > seconds(max_wait) {
            return seconds(max_wait * (1.0 + self.next_fraction()) / 2.0);
        }
        self.last_reserved = next;
        wait
    }

    /// How long this number of responses takes where `throughput` requests a second are finished (one
    /// a second if unknown). Reserves nothing.
    pub(crate) fn wait_for(throughput: Option<f64>, responses: usize) -> Duration {
        seconds((responses as f64 / throughput.unwrap_or(1.0)).clamp(1e-9, MAX_WAIT_SECS))
    }

    /// Ends the seconds that are over.
    fn advance(&mut self, now: Timestamp) {
        let second = now.since(Timestamp::ZERO).as_secs();
        // After twice the ring nothing is left to forget.
        self.second = self.second.max(second.saturating_sub(2 * RING_SECS as u64));
        while self.second < second {
            self.end_second();
            self.second += 1;
        }
    }

    /// Learns from a second that is over.
    fn end_second(&mut self) {
        let due = f64::from(std::mem::take(&mut self.due[slot(self.second)]));
        let [count, returned] = [&mut self.arrived, &mut self.returned].map(std::mem::take);
        let (arrived, returned) = (f64::from(count), f64::from(returned));
        let [oldest, previous] = self.arrived_before;
        let least_of_three = f64::from(oldest.min(previous).min(count));
        self.arrived_before = [previous, count];
        self.recent_arrived.add(arrived);
        self.recent_due.add(due);
        self.mean_returned.add(returned);
        // Clients come back a second late on average: half of it rounding, half of it jitter.
        self.mean_due.add(std::mem::replace(&mut self.due_before, due));
        let kept_share = match self.has_proven_returns() {
            true => (self.mean_returned.mean() / self.mean_due.mean()).min(1.0),
            false => self.kept_share_by_count(least_of_three),
        };
        self.set_kept_share(kept_share);
        let prompted = if self.has_proven_returns() { returned } else { self.kept_share * due };
        self.learn_unprompted(arrived - prompted);
    }

    /// Whether requests prove that they come back when told: some did within a minute or so.
    fn has_proven_returns(&self) -> bool {
        self.mean_returned.mean() > MIN_PROVEN_RETURNS
    }

    /// If clients keep less than was assumed, the outstanding reservations are moved forward.
    fn set_kept_share(&mut self, kept_share: f64) {
        let now = Timestamp::ZERO + Duration::from_secs(self.second + 1);
        let still_kept = (kept_share / self.kept_share).min(1.0);
        let outstanding = self.last_reserved.since(now).mul_f64(still_kept);
        self.last_reserved = self.last_reserved.min(now + outstanding);
        self.kept_share = kept_share.max(MIN_KEPT_SHARE);
    }

    /// The share that is kept where no request proves that it comes back: the arrivals beyond the
    /// unprompted ones are compared with those due.
    ///
    /// Fewer: clients do not come back. For three seconds on end more than twice as many as expected:
    /// clients retry without being told to, and the ones due cannot be told from them. A single second
    /// with many is a burst of new requests.
    fn kept_share_by_count(&self, least_of_three: f64) -> f64 {
        let (arrived, due) = (self.recent_arrived.mean(), self.recent_due.mean());
        let unprompted = self.unprompted.mean();
        let mut kept = self.kept_share;
        if due > 0.0 {
            // Less one: a client that polls once a second keeps no reservation but its own.
            let beyond = arrived - unprompted - 1.0;
            let (sustained, expected) = (least_of_three - unprompted, 2.0 * kept * due);
            let came = match sustained > expected {
                true => kept * expected / sustained,
                false => beyond / due,
            };
            // The difference of two Poisson counts is the more certain the more are due.
            let gain = due * due / (due * due + arrived + 1.0);
            kept += gain * (came.clamp(0.0, 1.0) - kept);
        }
        // Broken reservations are forgotten within a minute, so that new clients are believed.
        kept + (1.0 - kept) / (2.0 * f64::from(UNPROMPTED_SECS))
    }

    /// A burst is no change of the rate: twice the mean and eight more count at most. In the first second of all
    /// twice the half with fewer arrivals counts, and a burst in one half of it not at all.
    fn learn_unprompted(&mut self, arrived: f64) {
        let max = match (self.unprompted.samples(), self.second) {
            (0, 0) => {
                let at_first = f64::from(self.arrived_at_first);
                2.0 * at_first.min(arrived - at_first)
            }
            (0, _) => f64::MAX,
            _ => 2.0 * self.unprompted.mean() + 8.0,
        };
        if max > 0.0 {
            self.unprompted.add(arrived.clamp(0.0, max));
        }
    }

    /// Fractions in 0..1 that fill the interval evenly: the multiples of the golden ratio, modulo one.
    fn next_fraction(&mut self) -> f64 {
        /// The fractional part of the golden ratio, times 2^64.
        const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
        let fraction = (self.sequence >> 11) as f64 / (1u64 << 53) as f64;
        self.sequence = self.sequence.wrapping_add(GOLDEN_RATIO);
        fraction
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

const fn slot(second: u64) -> usize {
    (second % RING_SECS as u64) as usize
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
    fn no_two_requests_are_told_the_same_moment() {
        let mut schedule = after_five_minutes_of(50);
        let waits: Vec<_> =
            (0..20).map(|_| schedule.reserve(Some(100.0), 0, Duration::ZERO, at(300.0))).collect();
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    }

    #[test]
    fn a_rejected_burst_returns_no_faster_than_the_spare_throughput_and_not_much_slower() {
        let mut schedule = after_five_minutes_of(50);
        let waits = (0..200).map(|_| schedule.reserve(Some(100.0), 0, Duration::ZERO, at(300.0)));
        let last = waits.max().expect("200 reserved").as_secs_f64();
        assert!((4.0..4.5).contains(&last), "200 at some 50 a second: {last} s");
    }

    #[test]
    fn a_wait_beyond_the_maximum_is_spread_and_never_exceeds_a_minute() {
        let mut schedule = after_five_minutes_of(10);
        for _ in 0..100_000 {
            assert!(
                schedule.reserve(Some(10.0), 0, Duration::ZERO, at(300.0)).as_secs_f64()
                    <= MAX_WAIT_SECS
            );
        }
        for capacity in [0.0, f64::NAN, f64::INFINITY] {
            let wait = schedule.reserve(Some(capacity), 3, Duration::ZERO, at(300.0));
            assert!(
                wait > Duration::ZERO && wait.as_secs_f64() <= MAX_WAIT_SECS,
                "{capacity}: {wait:?}"
            );
        }
    }

    #[test]
    fn without_a_measurement_waits_are_spread_and_the_first_hardly_exceeds_a_second() {
        let mut schedule = RetryAfterSchedule::new();
        let waits: Vec<_> =
            (0..1_000).map(|_| schedule.reserve(None, 0, Duration::ZERO, at(0.0))).collect();
        assert!(waits[0] < Duration::from_millis(1_100), "{:?}", waits[0]);
        for second in 1..5 {
            let within = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let share = waits.iter().filter(|wait| within.contains(wait)).count();
            assert!((240..=260).contains(&share), "second {second}: {share}");
        }
    }

    #[test]
    fn reservations_that_are_over_delay_no_later_one() {
        let mut schedule = after_five_minutes_of(100);
        for _ in 0..50 {
            schedule.reserve(Some(100.0), 0, Duration::ZERO, at(300.0));
        }
        assert!(
            schedule.reserve(Some(100.0), 0, Duration::ZERO, at(600.0))
                < Duration::from_millis(100)
        );
    }

    #[test]
    fn reservations_that_are_not_kept_are_given_to_others_within_seconds() {
        let mut schedule = RetryAfterSchedule::new();
        let last = (0..150)
            .map(|_| schedule.reserve(Some(6.7), 0, Duration::ZERO, at(60.0)))
            .max()
            .expect("150 reserved");
        assert!(last > Duration::from_secs(20), "{last:?}");
        // No request comes back, except for one client that polls once a second.
        let wait_of = |schedule: &mut RetryAfterSchedule, second| {
            schedule.arrived(1, at(second));
            schedule.reserve(Some(6.7), 0, Duration::ZERO, at(second)).as_secs_f64()
        };
        let waits: Vec<_> = (61..70).map(|n| wait_of(&mut schedule, f64::from(n))).collect();
        assert!(waits[3..].iter().all(|&wait| wait < 3.0), "{waits:?}");
    }

    #[test]
    fn clients_that_retry_at_once_reserve_less_and_less() {
        let mut schedule = after_five_minutes_of(1);
        let mut last = 0.0;
        for n in 0..6_000 {
            let now = at(300.0 + f64::from(n) / 200.0);
            schedule.arrived(1, now);
            last = schedule.reserve(Some(50.0), 0, Duration::ZERO, now).as_secs_f64();
        }
        assert!(last < 15.0, "four times the throughput, no reservation is kept: {last} s");
    }

    #[test]
    fn a_few_clients_that_come_back_when_told_wait_briefly_beside_a_flood() {
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
            let wait = schedule.reserve(Some(200.0), 0, Duration::ZERO, now);
            // One in ten comes back, at the next whole second and up to a second late.
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
    fn arrivals_reported_together_count_like_single_ones() {
        let mut schedule = RetryAfterSchedule::new();
        for second in 1..=300 {
            schedule.arrived(50, at(f64::from(second)));
        }
        let (single, bulk) =
            (after_five_minutes_of(50).unprompted.mean(), schedule.unprompted.mean());
        assert!((single / bulk - 1.0).abs() < 0.02, "{single} and {bulk}");
    }

    #[test]
    fn a_burst_does_not_change_the_rate_of_unprompted_requests() {
        let mut schedule = after_five_minutes_of(50);
        schedule.arrived(10_000, at(300.0));
        schedule.arrived(50, at(301.0));
        schedule.arrived(50, at(302.0));
        assert!(
            (49.0..55.0).contains(&schedule.unprompted.mean()),
            "{}",
            schedule.unprompted.mean()
        );
    }

    #[test]
    fn a_herd_that_comes_back_when_told_is_not_unprompted() {
        let mut schedule = after_five_minutes_of(50);
        for _ in 0..1_000 {
            schedule.arrived(1, at(300.0));
            schedule.reserve(Some(100.0), 0, Duration::ZERO, at(300.0));
        }
        for second in 301..320 {
            schedule.arrived(98, at(f64::from(second)));
        }
        assert!(
            (46.0..56.0).contains(&schedule.unprompted.mean()),
            "{}",
            schedule.unprompted.mean()
        );
        assert!(schedule.kept_share > 0.8, "{}", schedule.kept_share);
    }

    #[test]
    fn a_rise_of_demand_is_learnt() {
        let mut schedule = after_five_minutes_of(50);
        for second in 301..400 {
            schedule.arrived(500, at(f64::from(second)));
        }
        assert!(
            (400.0..520.0).contains(&schedule.unprompted.mean()),
            "{}",
            schedule.unprompted.mean()
        );
    }

    #[test]
    fn queued_requests_go_first() {
        let mut schedule = after_five_minutes_of(50);
        let wait = schedule.reserve(Some(100.0), 100, Duration::ZERO, at(300.0)).as_secs_f64();
        assert!((1.0..1.2).contains(&wait), "100 queued, 100 a second are served: {wait} s");
    }

    #[test]
    fn a_burst_in_the_first_second_of_all_is_not_taken_for_the_rate_of_new_requests() {
        let mut schedule = RetryAfterSchedule::new();
        schedule.arrived(300, at(0.0));
        let waits = (0..200).map(|_| schedule.reserve(Some(80.0), 0, Duration::ZERO, at(1.0)));
        let last = waits.max().expect("200 reserved").as_secs_f64();
        assert!((2.5..2.8).contains(&last), "200 at some 80 a second: {last} s");
    }
}
