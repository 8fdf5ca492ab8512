//! Breakwater's credits as the limit of one server, without the clients that hold credits.
//!
//! Source: Cho et al., OSDI 2020; shenango/caladan at e3e92a9, `breakwater/src/bw_server.c` and `bw_config.h`
//! for 100 µs of service (d_t 500 µs, drops from twice that, round trips of 10 µs, AI 0.001 with the
//! evaluation's 1000 clients, MD 0.02). Spans are scaled by the site's mean over 100 µs. The delay is that of
//! the run queue. Left out: what needs clients that hold credits (demand, overcommitment, waiting for credit
//! instead of being rejected).

use std::time::Duration;

use backpressure_core::{Sample, Timestamp};

use crate::controller::limiter::{LimitAlgorithm, Limiter};
use crate::controller::{Controller, Instruments, Site};

#[derive(Debug)]
struct Credits {
    total: f64,
    carry: f64,
    least: f64,
    delay: Duration,
    target: Duration,
    round_trip: Duration,
    next_update: Timestamp,
}

pub(super) fn make(site: &Site) -> Box<dyn Controller> {
    let round_trip = Duration::from_secs_f64(ROUND_TRIPS_A_MEAN * site.mean);
    Limiter::of(Credits {
        total: site.cores,
        carry: 0.0,
        least: site.cores,
        delay: Duration::ZERO,
        target: Duration::from_secs_f64(TARGET_MEANS * site.mean),
        round_trip,
        next_update: Timestamp::ZERO + round_trip,
    })
}

impl Credits {
    fn update(&mut self, delay: Duration) {
        self.delay = delay;
        if delay >= self.target {
            let excess = (delay - self.target).as_secs_f64() / self.target.as_secs_f64();
            self.total = (self.total * (1.0 - MD * excess).max(0.5)).floor();
            self.carry = 0.0;
        } else {
            self.carry += AI * CLIENTS;
            self.total += self.carry.floor();
            self.carry -= self.carry.floor();
        }
        self.total = self.total.clamp(self.least, CLIENTS * CREDITS_A_CLIENT);
    }
}

impl LimitAlgorithm for Credits {
    fn limit(&self) -> usize {
        self.total as usize
    }

    fn admits(&self, in_flight: usize) -> bool {
        in_flight < self.limit() && self.delay < 2 * self.target
    }

    fn completed(&mut self, _sample: &Sample, _in_flight: usize, _now: Timestamp) {}

    fn next_tick(&self) -> Option<Timestamp> {
        Some(self.next_update)
    }

    fn tick(&mut self, instruments: &Instruments, now: Timestamp) {
        self.update(instruments.run_queue);
        self.next_update = now + self.round_trip;
    }
}

const AI: f64 = 0.001;
const MD: f64 = 0.02;
const CLIENTS: f64 = 1_000.0;
const CREDITS_A_CLIENT: f64 = 64.0;
/// 500 µs over 100 µs.
const TARGET_MEANS: f64 = 5.0;
/// 10 µs over 100 µs.
const ROUND_TRIPS_A_MEAN: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    fn credits(total: f64) -> Credits {
        Credits {
            total,
            carry: 0.0,
            least: 10.0,
            delay: Duration::ZERO,
            target: Duration::from_micros(80),
            round_trip: Duration::from_micros(10),
            next_update: Timestamp::ZERO,
        }
    }

    fn after(total: f64, delay_us: u64) -> usize {
        let mut credits = credits(total);
        credits.update(Duration::from_micros(delay_us));
        credits.limit()
    }

    /// Equations 1 and 2 of the paper at d_t = 80 µs: A · n more below it; 2 % less at twice the target, at
    /// most half, and never below the cores.
    #[test]
    fn the_published_update_of_the_credits_is_reproduced() {
        assert_eq!((after(1_000.0, 79), after(1_000.0, 160)), (1_001, 980));
        assert_eq!((after(1_000.0, 80 * 100), after(12.0, 80 * 100)), (500, 10));
        assert_eq!(after(64_000.0, 0), 64_000);
    }

    #[test]
    fn every_request_is_rejected_from_twice_the_target() {
        let mut credits = credits(1_000.0);
        credits.update(Duration::from_micros(159));
        assert!(credits.admits(0));
        credits.update(Duration::from_micros(160));
        assert!(!credits.admits(0));
    }
}
