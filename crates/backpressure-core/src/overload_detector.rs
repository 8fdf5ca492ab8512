//! Tells overload from a burst, by the queue.

use std::f64::consts::PI;
use std::time::Duration;

use crate::ewma::Ewma;
use crate::idle_window::IdleWindow;
use crate::time::Timestamp;

/// Watches the queue and decides whether it is a burst, which drains, or overload, which does not.
///
/// A burst should be queued to its last request. Under overload each queued request only makes all
/// later ones late. The two look alike at first. Under overload more requests arrive than are served, by
/// more than chance explains, once the queue has lasted for longer than a burst.
///
/// ```text
/// Calm       → Queueing     a request finds the limit reached
/// Queueing   → Calm         the queue is empty
/// Queueing   → Overloaded   more requests arrive than are served, a request times out in the queue,
///                           or the queue never gets short
/// Overloaded → Queueing     no more requests are rejected than at full load
/// Overloaded → Calm         permits are idle for a while, or no request is rejected for a while
/// ```
#[derive(Debug)]
pub(crate) struct OverloadDetector {
    state: State,
    /// Arrivals between two checks whether overload is over. It doubles each time overload returned
    /// soon: demand is close to capacity then, and it takes more arrivals to tell which is larger.
    block: u32,
    /// Share of the arrivals that the service can serve, as counted under overload.
    served_share: Ewma,
    /// When too few rejections last ended overload.
    ended: Timestamp,
    /// When idle permits last ended overload.
    ended_by_idling: Option<Timestamp>,
}

#[derive(Debug)]
enum State {
    /// The queue is empty.
    Calm,
    /// The queue has not been empty since `since`. Counting starts when it outlasts a burst.
    Queueing {
        since: Timestamp,
        arrived: u32,
        served: u32,
        /// Served since the queue was last short.
        served_while_long: u32,
    },
    /// Demand is above capacity. The counts are those of the current block, which began at `since`.
    Overloaded {
        since: Timestamp,
        arrived: u32,
        served: u32,
        rejected: u32,
        last_rejection: Timestamp,
        idle: IdleWindow,
    },
}

/// A queue that drains within this time, or within two latencies, is a burst. A pause of the garbage
/// collector or of the scheduler makes a queue of some ten milliseconds; one that has lasted for several
/// times as long delays all of its requests noticeably.
const MAX_BURST: Duration = Duration::from_millis(100);
/// Standard deviations of the difference of two Poisson counts that pass for chance. The test is made
/// for each arrival of a long queue, so that three would mistake every few hundredth burst.
const OVERLOAD_SIGMAS: f64 = 5.0;
/// The same within [`OVERLOAD_MEMORY`] after idle permits ended overload: load that comes in waves will
/// come in another. Without it each wave is queued for longer before it is recognised.
const OVERLOAD_SIGMAS_IN_WAVES: f64 = 3.0;
/// Excess of arrivals that passes for chance in any case: smaller counts are not normally distributed.
const MIN_EXCESS_ARRIVALS: f64 = 4.0;
/// A queue that never gets shorter than this while [`LONG_QUEUE_SERVED`] are served is overload, even if no
/// more arrive than are served: it makes all requests late and the service no faster. At 90 % load
/// chance makes a queue of 96 for 0.9^96 of the time, and forgets it within 1/(1 − √0.9)² = 380
/// requests served. Without this rule the goodput at 105 % load falls from 0.98 to 0.35 (lab: `cpu-1.05x`).
const LONG_QUEUE: usize = 96;
const LONG_QUEUE_SERVED: u32 = 1_500;
/// Standard deviations below the number of rejections at full load that end overload.
const END_SIGMAS: f64 = 2.0;
/// Arrivals in a block. In fewer than the minimum the rejections at twice the capacity would look like
/// those of full load more than once in some thousand blocks. The maximum distinguishes a fifth above
/// capacity from a tenth below; a longer one would keep rejecting for seconds after demand has fallen.
const MIN_BLOCK: u32 = 64;
const MAX_BLOCK: u32 = 1_024;
/// A block takes at least this long. What has piled up while a process was suspended is read in some ten milliseconds,
/// in which next to nothing is served: by such blocks alone, classes that fit would be taken for overload. With a
/// tenth of a second the queue follows the demand of one tenant too late (tests/tenants: p99 1.07 instead of 1.03).
const MIN_BLOCK_TIME: Duration = Duration::from_millis(25);
/// Time constant, in blocks, of the served share.
const SERVED_SHARE_BLOCKS: u32 = 4;
/// How long an end of overload is remembered: overload that returns within this time needs no new proof.
const OVERLOAD_MEMORY: Duration = Duration::from_secs(30);
/// Overload without a rejection for this time, or for four latencies, is over.
const MAX_QUIET: Duration = Duration::from_secs(1);
/// Responses in the time for which permits have to be idle to end overload, and the least number of
/// latencies in it. With fewer, chance idles a quarter of the permits; a limit that has just been doubled
/// takes one latency to fill.
const IDLE_WINDOW_RESPONSES: f64 = 256.0;
const IDLE_WINDOW_LATENCIES: f64 = 2.0;
/// Share of the time in which a permit may be idle under overload because no request is queued.
const IDLE_SHARE: f64 = 0.01;
/// From this limit on the servers even each other out, and one request less has to be queued.
const MANY_SERVERS: usize = 8;
/// Bounds of the load, as demand over capacity. Below the minimum it is not known which is larger; above
/// the maximum the next request is always there.
const MIN_LOAD: f64 = 1.02;
const MAX_LOAD: f64 = 1e3;
/// Above this load most requests of a queue will never be served, so that the newest runs first and the
/// oldest gives way. Below it, first in first out serves nearly all of them, and in fair order.
const NEWEST_FIRST_LOAD: f64 = 1.3;
/// Newer requests still queued, by expectation, after which an older one is rejected: chance leaves none
/// of them once in e³ = 20 times.
const NEWER_REQUESTS: f64 = 3.0;

impl OverloadDetector {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Calm,
            block: MIN_BLOCK,
            served_share: Ewma::settled_at(1.0, SERVED_SHARE_BLOCKS),
            ended: Timestamp::ZERO,
            ended_by_idling: None,
        }
    }

    pub(crate) const fn is_overloaded(&self) -> bool {
        matches!(self.state, State::Overloaded { .. })
    }

    /// How many requests to queue under overload: as few as keep a permit from being idle for more than
    /// [`IDLE_SHARE`] of the time, between one arrival and the next.
    ///
    /// A queue of `n` before one server leaves it idle for `(N − 1) / (N^(n+1) − 1)` of the time at
    /// `N` times its capacity (M/M/1/n).
    ///
    /// `demand_share` here and below: the part of demand that counts, of one rank and those above it.
    pub(crate) fn queue_len(&self, limit: usize, demand_share: f64) -> usize {
        let load = self.load(demand_share);
        if load < 1.0 {
            return usize::MAX;
        }
        let load = load.max(MIN_LOAD);
        let len = ((load - 1.0) / IDLE_SHARE).ln_1p() / load.ln();
        let running = if limit < MANY_SERVERS { 3 } else { 4 };
        (len.ceil() as usize).saturating_sub(running)
    }

    /// Whether demand is so far above capacity that most requests of a queue would never be served.
    pub(crate) fn is_far_above_capacity(&self, demand_share: f64) -> bool {
        self.is_overloaded() && self.load(demand_share) > NEWEST_FIRST_LOAD
    }

    /// After how many responses a queued request has [`NEWER_REQUESTS`] newer ones behind it, where the
    /// newest runs first.
    ///
    /// At a load of `N`, `N` requests arrive for each response, so that `N − 1` stay. The load counts for
    /// no more than 2: above that a longer wait does no harm, as hardly any request is served so late.
    pub(crate) fn responses_until_outrun(&self, demand_share: f64) -> f64 {
        NEWER_REQUESTS / (self.load(demand_share) - 1.0).clamp(MIN_LOAD - 1.0, 1.0)
    }

    /// This share of demand over capacity.
    fn load(&self, demand_share: f64) -> f64 {
        demand_share * self.served_share.mean().recip().clamp(MIN_LOAD, MAX_LOAD)
    }

    /// Whether the last rejection is so long ago that overload must be over.
    pub(crate) fn is_quiet(&self, latency: Duration, now: Timestamp) -> bool {
        match self.state {
            State::Overloaded { last_rejection, .. } => {
                now.since(last_rejection) > MAX_QUIET.max(4 * latency)
            }
            State::Calm | State::Queueing { .. } => true,
        }
    }

    /// Overloaded → Calm if no request was rejected for a while.
    pub(crate) fn end_if_quiet(&mut self, latency: Duration, now: Timestamp) {
        if self.is_overloaded() && self.is_quiet(latency, now) {
            *self = Self::new();
        }
    }

    /// A request finds the limit reached.
    pub(crate) fn limit_reached(&mut self, latency: Duration, now: Timestamp) {
        match &mut self.state {
            // Calm → Queueing.
            State::Calm => {
                if now.since(self.ended) > OVERLOAD_MEMORY {
                    self.block = MIN_BLOCK;
                }
                self.start_queueing(now);
            }
            // Queueing → Overloaded once more arrived than were served.
            State::Queueing { since, arrived, served, served_while_long } => {
                if now.since(*since) < max_burst(latency) {
                    return;
                }
                *arrived += 1;
                let (came, went) = (f64::from(*arrived), f64::from(*served));
                let recent = |end| end > Timestamp::ZERO && now.since(end) < OVERLOAD_MEMORY;
                let sigmas = match self.ended_by_idling.is_some_and(recent) {
                    true => OVERLOAD_SIGMAS_IN_WAVES,
                    false => OVERLOAD_SIGMAS,
                };
                let by_chance = sigmas * (came + went).sqrt() + MIN_EXCESS_ARRIVALS;
                let returned = recent(self.ended);
                if returned || *served_while_long > LONG_QUEUE_SERVED || came > went + by_chance {
                    self.served_share = Ewma::settled_at(went / came, SERVED_SHARE_BLOCKS);
                    self.start_overload(now);
                }
            }
            State::Overloaded { .. } => {}
        }
    }

    /// `count` requests were served to their end. Those that gave up do not count: a queue that moves
    /// because its requests give up is no better than one that does not move.
    pub(crate) fn served(&mut self, count: u32, latency: Duration, now: Timestamp) {
        match &mut self.state {
            State::Queueing { since, .. } if now.since(*since) < max_burst(latency) => {}
            State::Queueing { served, served_while_long, .. } => {
                *served = served.saturating_add(count);
                *served_while_long = served_while_long.saturating_add(count);
            }
            State::Overloaded { served, .. } => *served = served.saturating_add(count),
            State::Calm => {}
        }
    }

    /// A request has left the queue to run, and `len` are still queued.
    pub(crate) fn dequeued(&mut self, len: usize) {
        if let State::Queueing { served_while_long, .. } = &mut self.state {
            if len < LONG_QUEUE {
                *served_while_long = 0;
            }
        }
    }

    /// Queueing → Calm: the queue is empty.
    pub(crate) fn drained(&mut self) {
        if matches!(self.state, State::Queueing { .. }) {
            self.state = State::Calm;
        }
    }

    /// → Overloaded if a request was queued for `max_wait` in vain, and that is longer than a burst.
    pub(crate) fn timed_out(&mut self, max_wait: Duration, latency: Duration, now: Timestamp) {
        if max_wait > max_burst(latency) {
            self.start_overload(now);
        }
    }

    /// Overloaded → Calm if permits were idle for a while. Called while the queue is empty.
    pub(crate) fn end_if_idle(
        &mut self,
        in_flight: usize,
        limit: usize,
        latency: Duration,
        now: Timestamp,
    ) {
        let State::Overloaded { idle, .. } = &mut self.state else {
            return;
        };
        let idle_share = limit.saturating_sub(in_flight) as f64 / limit as f64;
        let latencies = (IDLE_WINDOW_RESPONSES / limit as f64).max(IDLE_WINDOW_LATENCIES);
        if idle.record(idle_share, latency.mul_f64(latencies), now) {
            *self = Self { ended_by_idling: Some(now), ..Self::new() };
        }
    }

    /// A request is rejected on arrival.
    pub(crate) fn rejected(&mut self, now: Timestamp) {
        if let State::Overloaded { arrived, rejected, last_rejection, .. } = &mut self.state {
            *arrived += 1;
            *rejected += 1;
            *last_rejection = now;
        }
    }

    /// A queued request is rejected in favour of another one.
    pub(crate) fn displaced(&mut self, now: Timestamp) {
        if let State::Overloaded { rejected, last_rejection, .. } = &mut self.state {
            *rejected = rejected.saturating_add(1);
            *last_rejection = now;
        }
    }

    /// A request runs or is queued, where `limit` may run and `queue_len` may be queued.
    ///
    /// Overloaded → Queueing after a block with fewer rejections than at full load.
    pub(crate) fn admitted(&mut self, limit: usize, queue_len: usize, now: Timestamp) {
        let State::Overloaded { since, arrived, served, rejected, .. } = &mut self.state else {
            return;
        };
        *arrived += 1;
        // Requests that arrive in one moment, as after a suspension, do not tell the demand from the capacity.
        if *arrived < self.block || now.since(*since) < MIN_BLOCK_TIME {
            return;
        }
        let (came, turned_away) = (f64::from(*arrived), f64::from(*rejected));
        self.served_share.add((f64::from(*served) / came).min(1.0));
        let share = rejected_at_full_load(limit, queue_len);
        let expected = came * share;
        let sigma = (expected * (1.0 - share)).sqrt();
        if turned_away < expected - END_SIGMAS * sigma {
            self.block = (self.block * 2).min(MAX_BLOCK);
            self.ended = now;
            self.start_queueing(now);
        } else {
            (*since, *arrived, *served, *rejected) = (now, 0, 0, 0);
        }
    }

    fn start_overload(&mut self, now: Timestamp) {
        if !self.is_overloaded() {
            self.state = State::Overloaded {
                since: now,
                arrived: 0,
                served: 0,
                rejected: 0,
                last_rejection: now,
                idle: IdleWindow::starting(now),
            };
        }
    }

    const fn start_queueing(&mut self, now: Timestamp) {
        self.state = State::Queueing { since: now, arrived: 0, served: 0, served_while_long: 0 };
    }
}

/// How long a queue may last that is a burst.
fn max_burst(latency: Duration) -> Duration {
    MAX_BURST.max(2 * latency)
}

/// The share that is rejected when demand equals capacity, `limit` run and `queue_len` are queued.
///
/// Erlang's B at an offered load of `limit`, by Ramanujan's approximation `1/B ≈ √(π·n/2) + 2/3`;
/// each queued request adds one to `1/B`.
fn rejected_at_full_load(limit: usize, queue_len: usize) -> f64 {
    1.0 / ((PI * limit as f64 / 2.0).sqrt() + 2.0 / 3.0 + queue_len as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(5);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// Erlang's B by its recursion.
    fn erlang_b(servers: u32) -> f64 {
        let load = f64::from(servers);
        (1..=servers).fold(1.0, |b, n| load * b / (f64::from(n) + load * b))
    }

    #[test]
    fn the_rejections_at_full_load_match_erlangs_recursion() {
        for servers in [1, 2, 3, 10, 100, 1_000] {
            let exact = erlang_b(servers);
            let error = (rejected_at_full_load(servers as usize, 0) / exact - 1.0).abs();
            assert!(error < 0.05, "{servers} servers: off by {error}");
        }
    }

    #[test]
    fn a_burst_is_not_overload() {
        let mut detector = OverloadDetector::new();
        for _ in 0..500 {
            detector.limit_reached(LATENCY, at(0));
        }
        // It drains at 200 a second while 100 a second arrive.
        for millis in (100..2_000).step_by(10) {
            detector.limit_reached(LATENCY, at(millis));
            detector.served(2, LATENCY, at(millis));
        }
        assert!(!detector.is_overloaded());
    }

    #[test]
    fn ten_times_the_capacity_is_overload_within_forty_arrivals_after_the_longest_burst() {
        let mut detector = OverloadDetector::new();
        let noticed = (0..)
            .find(|&millis| {
                detector.limit_reached(LATENCY, at(millis));
                detector.limit_reached(LATENCY, at(millis));
                if millis % 5 == 0 {
                    detector.served(1, LATENCY, at(millis));
                }
                detector.is_overloaded()
            })
            .expect("noticed at last");
        assert!((100..=120).contains(&noticed), "noticed after {noticed} ms");
    }

    #[test]
    fn overload_ends_when_no_more_are_rejected_than_at_full_load() {
        let mut detector = OverloadDetector::new();
        detector.start_overload(at(0));
        for n in 0..u64::from(MIN_BLOCK) {
            if n % 20 == 0 {
                detector.rejected(at(2 * n));
            } else {
                detector.admitted(16, 0, at(2 * n));
            }
        }
        assert!(!detector.is_overloaded());
    }

    #[test]
    fn requests_that_arrive_in_one_moment_raise_the_load_by_little() {
        let mut detector = OverloadDetector::new();
        detector.start_overload(at(0));
        // A third of the demand is served.
        let mut now = 0;
        for n in 0..3_000 {
            now += 2;
            match n % 3 {
                0 => detector.admitted(16, 0, at(now)),
                _ => detector.rejected(at(now)),
            }
            detector.served(u32::from(n % 3 == 0), LATENCY, at(now));
        }
        assert!((2.5..3.5).contains(&detector.load(1.0)), "{}", detector.load(1.0));
        for _ in 0..10_000 {
            detector.admitted(16, 0, at(now));
        }
        assert!(detector.load(1.0) < 6.0, "{}", detector.load(1.0));
    }

    #[test]
    fn overload_lasts_while_half_are_rejected() {
        let mut detector = OverloadDetector::new();
        detector.start_overload(at(0));
        for _ in 0..10 * MAX_BLOCK {
            detector.rejected(at(1));
            detector.admitted(16, 0, at(1));
        }
        assert!(detector.is_overloaded());
    }

    /// Whether overload lasts while half of 16 permits are idle for `idle_millis` of every hundred.
    fn overload_lasts(idle_millis: u64) -> bool {
        let mut detector = OverloadDetector::new();
        detector.start_overload(at(0));
        for start in (0..1_000).step_by(100) {
            detector.rejected(at(start));
            detector.end_if_idle(8, 16, LATENCY, at(start));
            detector.end_if_idle(16, 16, LATENCY, at(start + idle_millis));
        }
        detector.is_overloaded()
    }

    #[test]
    fn permits_that_are_idle_between_two_waves_end_overload() {
        assert!(!overload_lasts(80));
        assert!(overload_lasts(10));
    }

    #[test]
    fn after_idling_a_wave_that_drains_is_no_overload_and_one_that_grows_is_found_sooner() {
        let served_before_overload = |after_idling: bool, served_at_once: u32| {
            let mut detector = OverloadDetector {
                ended_by_idling: after_idling.then_some(at(1)),
                ..OverloadDetector::new()
            };
            detector.limit_reached(LATENCY, at(1));
            (0..200_u64).find(|&turn| {
                detector.limit_reached(LATENCY, at(200 + turn));
                detector.limit_reached(LATENCY, at(200 + turn));
                detector.served(served_at_once, LATENCY, at(200 + turn));
                detector.is_overloaded()
            })
        };
        assert_eq!(served_before_overload(true, 3), None);
        let (sooner, later) = (served_before_overload(true, 1), served_before_overload(false, 1));
        assert!(sooner.expect("found") < later.expect("found"));
    }

    #[test]
    fn overload_without_a_rejection_for_a_second_is_over() {
        let mut detector = OverloadDetector::new();
        detector.start_overload(at(0));
        detector.end_if_quiet(LATENCY, at(999));
        assert!(detector.is_overloaded());
        detector.end_if_quiet(LATENCY, at(1_001));
        assert!(!detector.is_overloaded());
    }
}
