//! SEDA's adaptive overload control: a token bucket whose rate follows the 90th percentile.
//!
//! Source: Welsh and Culler, "Adaptive Overload Control for Busy Internet Servers", USITS 2003, §3 (100
//! measurements or 1 s, α 0.7, errors 0 and −0.5, c −0.1, 0.05 to 5000 a second), and the authors' Sandstorm,
//! `ResponseTimeController*.java` (10 tokens deep), in front of one stage of as many threads as the knee. Its
//! steps, + 2 a second and ÷ 1.2, and its target were chosen for one mail service: at 1600 requests a second it
//! would starve for minutes. Here the steps are those that Breakwater's authors tuned for it at 100 µs
//! (shenango/caladan, `sd_config.h`: target 720 µs, ten a second for each of 1000 clients at a capacity of 100
//! 000, ÷ 1.3), scaled to the site. It starts at the highest rate. Left out: classes.

use std::collections::BTreeMap;
use std::time::Duration;

use backpressure_core::{Sample, Timestamp};

use crate::controller::executor::Executor;
use crate::controller::limiter::teaches;
use crate::controller::sample_window::SampleWindow;
use crate::controller::{Answer, AttemptInfo, Controller, Next, Refusal, Site};

#[derive(Debug)]
struct Stage {
    executor: Executor,
    rate: Rate,
    tokens: f64,
    refilled: Timestamp,
    entered: BTreeMap<u64, Timestamp>,
}

/// Tokens per second, and the controller of that rate.
#[derive(Debug)]
struct Rate {
    per_second: f64,
    most: f64,
    /// Added per second at an error of −1 beyond `c`.
    adjust_up: f64,
    /// Seconds.
    target: f64,
    ninetieth: f64,
    /// Nanoseconds in the stage, including its queue.
    times: SampleWindow,
    updated: Timestamp,
}

pub(super) fn make(site: &Site) -> Box<dyn Controller> {
    let capacity = site.knee / site.mean;
    Box::new(Stage {
        executor: Executor::new(site.knee),
        rate: Rate::new(capacity, TARGET_MEANS * site.mean),
        tokens: DEPTH,
        refilled: Timestamp::ZERO,
        entered: BTreeMap::new(),
    })
}

impl Rate {
    fn new(capacity: f64, target: f64) -> Self {
        let most = MAX_RATE.max(2.0 * capacity);
        Self {
            per_second: most,
            most,
            adjust_up: ADJUST_UP_CAPACITIES * capacity,
            target,
            ninetieth: 0.0,
            times: SampleWindow::default(),
            updated: Timestamp::ZERO,
        }
    }

    fn observe(&mut self, time: Duration, now: Timestamp) {
        self.times.add(time.as_nanos() as u64);
        if self.times.len() >= MEASUREMENTS || now.since(self.updated) >= TIMEOUT {
            let below = (0.9 * self.times.len() as f64) as usize;
            let current = self.times.smallest(below).unwrap_or(0) as f64 / 1e9;
            self.ninetieth = ALPHA * self.ninetieth + (1.0 - ALPHA) * current;
            self.correct((self.ninetieth - self.target) / self.target);
            self.times.clear();
            self.updated = now;
        }
    }

    fn correct(&mut self, error: f64) {
        if error > ERROR_DOWN {
            self.per_second /= ADJUST_DOWN;
        } else if error < ERROR_UP {
            self.per_second += -(error - C_UP) * self.adjust_up;
        }
        self.per_second = self.per_second.clamp(MIN_RATE, self.most);
    }
}

impl Stage {
    fn take_token(&mut self, now: Timestamp) -> bool {
        let gained = now.since(self.refilled).as_secs_f64() * self.rate.per_second;
        self.tokens = (self.tokens + gained).min(DEPTH);
        self.refilled = now;
        let enough = self.tokens >= 1.0;
        self.tokens -= if enough { 1.0 } else { 0.0 };
        enough
    }
}

impl Controller for Stage {
    fn arrive(&mut self, attempt: AttemptInfo, now: Timestamp) -> Answer {
        if !self.take_token(now) {
            return Answer::Shed(Refusal::default());
        }
        self.entered.insert(attempt.id, now);
        if self.executor.enter(attempt, now) { Answer::Run } else { Answer::Wait }
    }

    fn depart(&mut self, attempt: AttemptInfo, sample: &Sample, now: Timestamp) {
        self.executor.release();
        let entered = self.entered.remove(&attempt.id);
        if let Some(entered) = entered.filter(|_| teaches(sample)) {
            self.rate.observe(now.since(entered), now);
        }
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        let called = self.executor.call()?;
        self.executor.take();
        Some(Next::Run(called.attempt.id))
    }

    fn abandon(&mut self, attempt: AttemptInfo, _now: Timestamp) {
        self.entered.remove(&attempt.id);
        self.executor.forget(attempt.id);
    }

    fn limit(&self) -> f64 {
        self.executor.threads() as f64
    }

    fn queued(&self) -> usize {
        self.executor.queued()
    }
}

const MEASUREMENTS: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(1);
const ALPHA: f64 = 0.7;
const ERROR_DOWN: f64 = 0.0;
const ERROR_UP: f64 = -0.5;
const ADJUST_DOWN: f64 = 1.3;
const ADJUST_UP_CAPACITIES: f64 = 0.1;
const TARGET_MEANS: f64 = 7.2;
const C_UP: f64 = -0.1;
const MIN_RATE: f64 = 0.05;
const MAX_RATE: f64 = 5_000.0;
const DEPTH: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{SITE, at, attempt};

    /// The steps of the published constants: ÷ 1.3 above the target, none down to half of it, and at an error
    /// of −0.9 eight tenths of a tenth of the capacity more.
    #[test]
    fn the_published_constants_are_reproduced() {
        let after = |error| {
            let mut rate = Rate::new(1_000.0, 0.1);
            rate.per_second = 1_300.0;
            rate.correct(error);
            rate.per_second
        };
        assert_eq!((after(0.1), after(-0.4)), (1_000.0, 1_300.0));
        assert!((after(-0.9) - 1_380.0).abs() < 1e-9);
    }

    #[test]
    fn it_updates_after_a_hundred_measurements_or_a_second() {
        let mut rate = Rate::new(1_000.0, 0.1);
        for _ in 0..99 {
            rate.observe(Duration::from_millis(500), at(10));
        }
        assert_eq!(rate.per_second, 5_000.0);
        // 0.3 · 500 ms = 150 ms, above the target.
        rate.observe(Duration::from_millis(500), at(10));
        assert!((rate.ninetieth - 0.15).abs() < 1e-9 && rate.per_second < 3_847.0);
        rate.observe(Duration::from_millis(500), at(1_010));
        assert!(rate.per_second < 2_959.0);
    }

    #[test]
    fn ten_tokens_admit_ten_requests_at_once() {
        let mut stage = make(&SITE);
        let answers: Vec<_> = (0..12).map(|id| stage.arrive(attempt(id), at(0))).collect();
        assert_eq!((answers[7], answers[8], answers[9]), (Answer::Run, Answer::Wait, Answer::Wait));
        assert_eq!(answers[10], Answer::Shed(Refusal::default()));
    }
}
