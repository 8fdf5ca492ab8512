//! Protego's slope of throughput as the limit of one server, without the clients that hold credits.
//!
//! Source: Cho et al., NSDI 2023; shenango/caladan, branch protego, `bw2_server.c` and its `bw2_config.h`
//! (every 200 µs, counts begun after a 99th percentile round trip of 100 µs, slope a quarter, a credit a step
//! at its 1000 clients, drops above a budget of 160 µs). Spans are scaled: five means are the 99th percentile
//! of exponential service. Credits count as used when the limit was reached. Left out: budgets carried through
//! locks, and clients.

use std::time::Duration;

use backpressure_core::{Sample, Timestamp};

use crate::controller::limiter::{LimitAlgorithm, Limiter};
use crate::controller::{Controller, Instruments, Site};

#[derive(Debug)]
struct Slope {
    limit: usize,
    least: usize,
    counts: Counts,
    before: Counts,
    all_used: bool,
    /// Wait of the oldest task in the run queue.
    delay: Duration,
    budget: Duration,
    tick: Duration,
    ticks: u32,
    next_tick: Timestamp,
}

/// Requests admitted and completed since the counts began.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    entered: i64,
    left: i64,
}

pub(super) fn make(site: &Site) -> Box<dyn Controller> {
    Limiter::of(Slope::new(site.cores.round() as usize, P99_MEANS * site.mean))
}

impl Slope {
    fn new(cores: usize, p99: f64) -> Self {
        let p99 = Duration::from_secs_f64(p99);
        let tick = p99 / TICKS_A_P99;
        Self {
            limit: 10 * cores,
            least: cores.max(1),
            counts: Counts::default(),
            before: Counts::default(),
            all_used: false,
            delay: Duration::ZERO,
            budget: p99.mul_f64(BUDGET_P99S),
            tick,
            ticks: 0,
            next_tick: Timestamp::ZERO + tick,
        }
    }

    fn update(&mut self) {
        let Counts { entered, left } = self.counts;
        let (more_in, more_out) = (entered - self.before.entered, left - self.before.left);
        let follows = if more_in >= 0 {
            more_out > 0 && SLOPE_INVERSE * more_out >= more_in
        } else {
            more_out < 0 && SLOPE_INVERSE * -more_out > -more_in
        };
        let up = entered == 0 || (follows && self.all_used);
        let step = if up { self.limit + STEP } else { self.limit - STEP };
        self.limit = step.clamp(self.least, CLIENTS * CREDITS_A_CLIENT);
        self.before = self.counts;
    }

    fn begin(&mut self) {
        self.counts = Counts::default();
        self.all_used = false;
    }
}

impl LimitAlgorithm for Slope {
    fn limit(&self) -> usize {
        self.limit
    }

    fn admits(&self, in_flight: usize) -> bool {
        in_flight < self.limit && self.delay <= self.budget
    }

    fn admitted(&mut self, in_flight: usize) {
        self.counts.entered += 1;
        self.all_used |= in_flight >= self.limit;
    }

    fn completed(&mut self, _sample: &Sample, _in_flight: usize, _now: Timestamp) {
        self.counts.left += 1;
    }

    fn next_tick(&self) -> Option<Timestamp> {
        Some(self.next_tick)
    }

    fn tick(&mut self, instruments: &Instruments, now: Timestamp) {
        self.delay = instruments.run_queue;
        self.ticks = (self.ticks + 1) % (2 * TICKS_A_P99);
        if self.ticks == 0 {
            self.update();
        } else if self.ticks == TICKS_A_P99 {
            self.begin();
        }
        self.next_tick = now + self.tick;
    }
}

const SLOPE_INVERSE: i64 = 4;
const CLIENTS: usize = 1_000;
const CREDITS_A_CLIENT: usize = 64;
/// `max(1, 0.0005 · clients)`.
const STEP: usize = 1;
const P99_MEANS: f64 = 5.0;
const BUDGET_P99S: f64 = 1.6;
/// How often per p99 the run queue is read, for the drops.
const TICKS_A_P99: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(entered: i64, left: i64, all_used: bool) -> usize {
        let mut slope = Slope::new(8, 0.05);
        slope.before = Counts { entered: 100, left: 100 };
        slope.counts = Counts { entered, left };
        slope.all_used = all_used;
        slope.update();
        slope.limit
    }

    /// The published rule, from ten credits a core: up when all credits were used and a quarter of the growth
    /// was completed, or more than a quarter of the decline was missing at the exit.
    #[test]
    fn the_published_slope_is_reproduced() {
        assert_eq!((after(140, 110, true), after(140, 109, true)), (81, 79));
        assert_eq!((after(140, 110, false), after(140, 100, true)), (79, 79));
        assert_eq!((after(60, 89, true), after(60, 90, true), after(60, 89, false)), (81, 79, 79));
        assert_eq!(after(0, 0, false), 81);
    }

    #[test]
    fn counts_begin_after_one_round_trip_and_the_step_comes_after_two() {
        let mut slope = Slope::new(8, 0.05);
        let ring = |times: u32, slope: &mut Slope| {
            for _ in 0..times {
                let due = slope.next_tick;
                slope.tick(&Instruments::default(), due);
            }
            (slope.limit, slope.counts.entered)
        };
        slope.admitted(1);
        assert_eq!(ring(19, &mut slope), (80, 1));
        assert_eq!(ring(1, &mut slope), (80, 0));
        slope.admitted(1);
        assert_eq!(ring(20, &mut slope), (79, 1));
        assert_eq!(slope.next_tick, Timestamp::ZERO + Duration::from_micros(102_500));
    }
}
