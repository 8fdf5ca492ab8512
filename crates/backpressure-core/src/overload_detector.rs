//! Telling a queue that passes from one that stands.

use std::f64::consts::PI;
use std::time::Duration;

use crate::idle_window::IdleWindow;
use crate::time::Timestamp;

/// Watches the queue and says whether what stands in it is luck or overload.
///
/// A burst makes a queue that drains by itself: everybody in it should wait. Demand above capacity
/// makes one that stands: whoever joins it only makes everybody late. The two look alike at first;
/// what tells them apart is whether, once the queue has stood for a while, more keep coming than are
/// served, by more than chance explains.
#[derive(Debug)]
pub(crate) struct OverloadDetector {
    state: State,
    /// Arrivals between two looks at whether overload has passed: the more often it came right
    /// back, the closer demand is to capacity and the more evidence it takes.
    block: u32,
    /// Share of the arrivals that can be served, as counted under overload.
    share: f64,
    /// When it last looked as if overload had passed.
    left: Timestamp,
    /// When a lull last ended overload.
    lull: Option<Timestamp>,
}

#[derive(Debug)]
enum State {
    /// Nobody waits.
    Calm,
    /// Somebody has waited since `since`; counted once the grace is over.
    ///
    /// `stood` counts who was served since the queue was last short.
    Queueing { since: Timestamp, arrived: u32, served: u32, stood: u32 },
    /// Demand is above capacity; the counts are those of the current block.
    Overloaded { arrived: u32, served: u32, shed: u32, last_shed: Timestamp, idle: IdleWindow },
}

/// A queue that drains within this (or within two service times) is a burst.
const GRACE: Duration = Duration::from_millis(100);
/// Standard deviations of the difference of two Poisson counts that pass for chance.
const CHANCE: f64 = 5.0;
/// The same shortly after overload that a lull ended: what came in waves comes in waves.
const CHANCE_IN_WAVES: f64 = 3.0;
/// Counts below this are too small to have a standard deviation.
const HEADSTART: f64 = 4.0;
/// Standard deviations below what full load would shed that show that it is not.
const EXIT_CHANCE: f64 = 2.0;
/// Share of capacity that may stand idle under overload for want of somebody who waits.
const IDLE: f64 = 0.01;
/// Newer ones that stay after which a wait was in vain: none of them comes once in e³ = 20 times.
const NEWER: f64 = 3.0;
/// Weight of a block in the share that is served.
const SHARE_GAIN: f64 = 0.25;
/// A limit from here on stands for several servers.
const MANY: usize = 8;
/// Below this there is no telling demand from capacity.
const LEAST_LOAD: f64 = 1.02;
/// Above this nobody needs to wait: the next is always there.
const MOST_LOAD: f64 = 1e3;
/// From here on most who wait would wait in vain: the newest runs first and the oldest gives way.
const HOPELESS: f64 = 1.3;
/// A queue that is never shorter than this while so many are served stands, even if no more come
/// than go: it makes everybody late and nothing faster. At 90 % load chance makes such a queue for
/// 0.9^96 of the time, and forgets it within 1/(1 − √0.9)² = 380 of those served.
const SHORT: usize = 96;
const STANDS: u32 = 1_500;
/// The shortest block: at twice the capacity it misleads once in some thousand blocks.
const SHORTEST_BLOCK: u32 = 64;
/// The longest block: a fifth above capacity is told from a tenth below.
const LONGEST_BLOCK: u32 = 1_024;
/// IdleWindow is looked at when so many could have been served, and after two service times at least:
/// a limit that was just doubled takes one to fill.
const LULL: f64 = 256.0;
/// Overload that passed so long ago says nothing about the next.
const FORGET: Duration = Duration::from_secs(30);
/// Overload in which nobody is turned away for this (or for four service times) has passed.
const QUIET: Duration = Duration::from_secs(1);

impl OverloadDetector {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Calm,
            block: SHORTEST_BLOCK,
            share: 1.0,
            left: Timestamp::ZERO,
            lull: None,
        }
    }

    pub(crate) const fn is_overloaded(&self) -> bool {
        matches!(self.state, State::Overloaded { .. })
    }

    /// How many should wait under overload: as few as keep capacity from standing idle for more
    /// than a hundredth of the time, between one arrival and the next.
    ///
    /// `n` places before a server leave it idle for `(N − 1) / (N^(n+1) − 1)` of the time at
    /// `N` times its capacity (M/M/1/n); many servers even each other out.
    ///
    /// Here and below `share` is the part of demand that is meant: one rank's and those above it.
    pub(crate) fn room(&self, limit: usize, share: f64) -> usize {
        let load = self.load(share);
        if load < 1.0 {
            return usize::MAX;
        }
        let load = load.max(LEAST_LOAD);
        let places = ((load - 1.0) / IDLE).ln_1p() / load.ln();
        let inside = if limit < MANY { 3 } else { 4 };
        (places.ceil() as usize).saturating_sub(inside)
    }

    /// Whether demand is so far above capacity that who waited longest is the one to turn away.
    pub(crate) fn is_hopeless(&self, share: f64) -> bool {
        self.is_overloaded() && self.load(share) > HOPELESS
    }

    /// How long a wait makes sense where the newest runs first, in turns of capacity: after that
    /// somebody newer has come for every turn there was.
    ///
    /// In a turn come `N` and one is served, so `N − 1` newer ones stay. Above twice the capacity
    /// a longer wait harms nobody, because hardly anybody has to be served that late.
    pub(crate) fn turns(&self, share: f64) -> f64 {
        NEWER / (self.load(share) - 1.0).clamp(LEAST_LOAD - 1.0, 1.0)
    }

    /// This share of demand over capacity.
    fn load(&self, share: f64) -> f64 {
        share * self.share.recip().clamp(LEAST_LOAD, MOST_LOAD)
    }

    /// Whether nobody has been turned away for so long that overload must have passed.
    pub(crate) fn is_quiet(&self, service: Duration, now: Timestamp) -> bool {
        match self.state {
            State::Overloaded { last_shed, .. } => now.since(last_shed) > QUIET.max(4 * service),
            State::Calm | State::Queueing { .. } => true,
        }
    }

    /// Overloaded → Calm after a pause.
    pub(crate) fn rest(&mut self, service: Duration, now: Timestamp) {
        if self.is_overloaded() && self.is_quiet(service, now) {
            *self = Self::new();
        }
    }

    /// A request finds the limit reached.
    pub(crate) fn crowded(&mut self, service: Duration, now: Timestamp) {
        match &mut self.state {
            // Calm → Queueing.
            State::Calm => {
                if now.since(self.left) > FORGET {
                    self.block = SHORTEST_BLOCK;
                }
                self.queue(now);
            }
            // Queueing → Overloaded once more came than went.
            State::Queueing { since, arrived, served, stood } => {
                if now.since(*since) < grace(service) {
                    return;
                }
                *arrived += 1;
                let (came, went) = (f64::from(*arrived), f64::from(*served));
                let again = self.left > Timestamp::ZERO && now.since(self.left) < FORGET;
                let waves = self.lull.is_some_and(|lull| now.since(lull) < FORGET);
                let chance = if waves { CHANCE_IN_WAVES } else { CHANCE };
                if again
                    || *stood > STANDS
                    || came > went + chance * (came + went).sqrt() + HEADSTART
                {
                    self.share = went / came;
                    self.overload(now);
                }
            }
            State::Overloaded { .. } => {}
        }
    }

    /// So many requests were served to their end. Those that were given up do not count: a queue
    /// that moves because people leave it in vain is no better than one that stands.
    pub(crate) fn served(&mut self, count: u32, service: Duration, now: Timestamp) {
        match &mut self.state {
            State::Queueing { since, .. } if now.since(*since) < grace(service) => {}
            State::Queueing { served, stood, .. } => {
                *served = served.saturating_add(count);
                *stood = stood.saturating_add(count);
            }
            State::Overloaded { served, .. } => *served = served.saturating_add(count),
            State::Calm => {}
        }
    }

    /// So many wait: a queue that is short now and then does not stand.
    pub(crate) fn waiting(&mut self, count: usize) {
        if let State::Queueing { stood, .. } = &mut self.state {
            if count < SHORT {
                *stood = 0;
            }
        }
    }

    /// Nobody waits any more: Queueing → Calm.
    pub(crate) fn drained(&mut self) {
        if matches!(self.state, State::Queueing { .. }) {
            self.state = State::Calm;
        }
    }

    /// Somebody waited for as long as anybody may: → Overloaded, if that was longer than a burst.
    pub(crate) fn waited_in_vain(&mut self, wait: Duration, service: Duration, now: Timestamp) {
        if wait > grace(service) {
            self.overload(now);
        }
    }

    /// So many are in flight and nobody waits.
    ///
    /// Overloaded → Calm after a lull: whatever was too much, it has passed.
    pub(crate) fn unfilled(
        &mut self,
        in_flight: usize,
        limit: usize,
        service: Duration,
        now: Timestamp,
    ) {
        let State::Overloaded { idle, .. } = &mut self.state else {
            return;
        };
        let free = limit.saturating_sub(in_flight) as f64 / limit as f64;
        let span = service.mul_f64((LULL / limit as f64).max(2.0));
        if idle.shows_lull(free, span, now) {
            *self = Self { lull: Some(now), ..Self::new() };
        }
    }

    /// An arrival is turned away.
    pub(crate) fn shed(&mut self, now: Timestamp) {
        if let State::Overloaded { arrived, shed, last_shed, .. } = &mut self.state {
            *arrived += 1;
            *shed += 1;
            *last_shed = now;
        }
    }

    /// Somebody who waited gives way.
    pub(crate) fn displaced(&mut self, now: Timestamp) {
        if let State::Overloaded { shed, last_shed, .. } = &mut self.state {
            *shed = shed.saturating_add(1);
            *last_shed = now;
        }
    }

    /// An arrival runs or waits, where so many may run and so many wait.
    ///
    /// Overloaded → Queueing once fewer of a block were turned away than would be at full load.
    pub(crate) fn admitted(&mut self, limit: usize, room: usize, now: Timestamp) {
        let State::Overloaded { arrived, served, shed, .. } = &mut self.state else {
            return;
        };
        *arrived += 1;
        if *arrived < self.block {
            return;
        }
        let (came, left) = (f64::from(*arrived), f64::from(*shed));
        let share = (f64::from(*served) / came).min(1.0);
        self.share += SHARE_GAIN * (share - self.share);
        let full_load = shed_at_full_load(limit, room);
        let expected = came * full_load;
        let chance = (expected * (1.0 - full_load)).sqrt();
        if left < expected - EXIT_CHANCE * chance {
            self.block = (self.block * 2).min(LONGEST_BLOCK);
            self.left = now;
            self.queue(now);
        } else {
            (*arrived, *served, *shed) = (0, 0, 0);
        }
    }

    fn overload(&mut self, now: Timestamp) {
        if !self.is_overloaded() {
            let idle = IdleWindow::since(now);
            self.state = State::Overloaded { arrived: 0, served: 0, shed: 0, last_shed: now, idle };
        }
    }

    const fn queue(&mut self, now: Timestamp) {
        self.state = State::Queueing { since: now, arrived: 0, served: 0, stood: 0 };
    }
}

/// How long a queue may stand before it is looked at.
fn grace(service: Duration) -> Duration {
    GRACE.max(2 * service)
}

/// The share that is turned away when demand equals capacity and so many run and so many wait.
///
/// Erlang's B at an offered load of `limit`, by Ramanujan's approximation
/// `1/B ≈ √(π·n/2) + 2/3`; each place to wait adds one to `1/B`.
fn shed_at_full_load(limit: usize, room: usize) -> f64 {
    1.0 / ((PI * limit as f64 / 2.0).sqrt() + 2.0 / 3.0 + room as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Duration = Duration::from_millis(5);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// Erlang's B by its recursion.
    fn erlang_b(places: u32) -> f64 {
        let load = f64::from(places);
        (1..=places).fold(1.0, |b, n| load * b / (f64::from(n) + load * b))
    }

    #[test]
    fn full_load_matches_erlangs_recursion() {
        for places in [1, 2, 3, 10, 100, 1_000] {
            let exact = erlang_b(places);
            let error = (shed_at_full_load(places as usize, 0) / exact - 1.0).abs();
            assert!(error < 0.05, "{places} places: off by {error}");
        }
    }

    #[test]
    fn a_burst_is_not_overload() {
        let mut detector = OverloadDetector::new();
        for _ in 0..500 {
            detector.crowded(SERVICE, at(0));
        }
        // It drains at 200 a second while 100 a second arrive.
        for millis in (100..2_000).step_by(10) {
            detector.crowded(SERVICE, at(millis));
            detector.served(2, SERVICE, at(millis));
        }
        assert!(!detector.is_overloaded());
    }

    #[test]
    fn ten_times_the_capacity_is_overload_within_some_forty_arrivals_of_the_grace() {
        let mut detector = OverloadDetector::new();
        let noticed = (0..)
            .find(|&millis| {
                detector.crowded(SERVICE, at(millis));
                detector.crowded(SERVICE, at(millis));
                if millis % 5 == 0 {
                    detector.served(1, SERVICE, at(millis));
                }
                detector.is_overloaded()
            })
            .expect("noticed at last");
        assert!((100..=120).contains(&noticed), "noticed after {noticed} ms");
    }

    #[test]
    fn overload_ends_when_no_more_are_shed_than_at_full_load() {
        let mut detector = OverloadDetector::new();
        detector.overload(at(0));
        for n in 0..SHORTEST_BLOCK {
            if n % 20 == 0 {
                detector.shed(at(1));
            } else {
                detector.admitted(16, 0, at(1));
            }
        }
        assert!(!detector.is_overloaded());
    }

    #[test]
    fn overload_lasts_while_half_are_shed() {
        let mut detector = OverloadDetector::new();
        detector.overload(at(0));
        for _ in 0..10 * LONGEST_BLOCK {
            detector.shed(at(1));
            detector.admitted(16, 0, at(1));
        }
        assert!(detector.is_overloaded());
    }

    /// Half of sixteen places are empty for so many of every hundred milliseconds.
    fn overload_survives(empty: u64) -> bool {
        let mut detector = OverloadDetector::new();
        detector.overload(at(0));
        for start in (0..1_000).step_by(100) {
            detector.shed(at(start));
            detector.unfilled(8, 16, SERVICE, at(start));
            detector.unfilled(16, 16, SERVICE, at(start + empty));
        }
        detector.is_overloaded()
    }

    #[test]
    fn places_that_stand_empty_between_two_waves_end_overload() {
        assert!(!overload_survives(80));
        assert!(overload_survives(10));
    }

    #[test]
    fn after_a_lull_a_wave_that_drains_is_no_overload_and_one_that_grows_is_found_sooner() {
        let served_before_overload = |lull: bool, served_at_once: u32| {
            let mut detector =
                OverloadDetector { lull: lull.then_some(at(0)), ..OverloadDetector::new() };
            detector.crowded(SERVICE, at(1));
            (0..200_u64).find(|&turn| {
                detector.crowded(SERVICE, at(200 + turn));
                detector.crowded(SERVICE, at(200 + turn));
                detector.served(served_at_once, SERVICE, at(200 + turn));
                detector.is_overloaded()
            })
        };
        assert_eq!(served_before_overload(true, 3), None);
        let (sooner, later) = (served_before_overload(true, 1), served_before_overload(false, 1));
        assert!(sooner.expect("found") < later.expect("found"));
    }

    #[test]
    fn overload_that_turned_nobody_away_for_a_second_has_passed() {
        let mut detector = OverloadDetector::new();
        detector.overload(at(0));
        detector.rest(SERVICE, at(999));
        assert!(detector.is_overloaded());
        detector.rest(SERVICE, at(1_001));
        assert!(!detector.is_overloaded());
    }
}
