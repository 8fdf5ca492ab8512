//! WeChat's DAGOR: admits by business and user priority while its queue waits above 20 ms.
//!
//! Source: Zhou et al., "Overload Control for Scaling WeChat Microservices", SoCC 2018, §4 (1 s or 2000
//! requests, α 5 %, β 1 %, 128 user levels that change hourly); α and β agree with Breakwater's `dg_config.h`.
//! The signal is the average wait in the queue of an executor with as many threads as the knee. Left out: the
//! level told to upstream callers, which would not send what is going to be rejected, and the task's time-out
//! of 500 ms.

mod level;

use std::time::Duration;

use backpressure_core::{Sample, Timestamp};

use crate::controller::dagor::level::Levels;
use crate::controller::executor::Executor;
use crate::controller::{Answer, AttemptInfo, Controller, Instruments, Next, Refusal, Site};

#[derive(Debug)]
struct Dagor {
    executor: Executor,
    levels: Levels,
    /// Waits that ended in this window, in seconds.
    waited: f64,
    started: u32,
    window_ends: Timestamp,
}

pub(super) fn make(site: &Site) -> Box<dyn Controller> {
    Box::new(Dagor {
        executor: Executor::new(site.knee),
        levels: Levels::default(),
        waited: 0.0,
        started: 0,
        window_ends: Timestamp::ZERO + WINDOW,
    })
}

impl Dagor {
    fn start(&mut self, wait: Duration) {
        self.waited += wait.as_secs_f64();
        self.started += 1;
    }

    /// The average wait of the window; if no request started, that of the oldest in the queue.
    fn average_wait(&self, now: Timestamp) -> f64 {
        if self.started > 0 {
            return self.waited / f64::from(self.started);
        }
        self.executor.first().map_or(0.0, |first| now.since(first.since).as_secs_f64())
    }

    fn close(&mut self, now: Timestamp) {
        let overloaded = self.average_wait(now) > OVERLOAD.as_secs_f64();
        self.levels.update(overloaded);
        self.waited = 0.0;
        self.started = 0;
        self.window_ends = now + WINDOW;
    }
}

impl Controller for Dagor {
    fn arrive(&mut self, attempt: AttemptInfo, now: Timestamp) -> Answer {
        let admitted = self.levels.admit(level::of(&attempt, now));
        let answer = if !admitted {
            Answer::Shed(Refusal::default())
        } else if self.executor.enter(attempt, now) {
            self.start(Duration::ZERO);
            Answer::Run
        } else {
            Answer::Wait
        };
        if self.levels.arrived() >= REQUESTS {
            self.close(now);
        }
        answer
    }

    fn depart(&mut self, _attempt: AttemptInfo, _sample: &Sample, _now: Timestamp) {
        self.executor.release();
    }

    fn next(&mut self, now: Timestamp) -> Option<Next> {
        let called = self.executor.call()?;
        self.start(now.since(called.since));
        self.executor.take();
        Some(Next::Run(called.attempt.id))
    }

    fn abandon(&mut self, attempt: AttemptInfo, _now: Timestamp) {
        self.executor.forget(attempt.id);
    }

    fn next_tick(&self) -> Option<Timestamp> {
        Some(self.window_ends)
    }

    fn tick(&mut self, _instruments: &Instruments, now: Timestamp) {
        if now >= self.window_ends {
            self.close(now);
        }
    }

    fn limit(&self) -> f64 {
        self.executor.threads() as f64
    }

    fn queued(&self) -> usize {
        self.executor.queued()
    }
}

const WINDOW: Duration = Duration::from_secs(1);
const REQUESTS: u32 = 2_000;
const OVERLOAD: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{SITE, at, attempt, success};

    #[test]
    fn an_average_wait_above_twenty_milliseconds_lowers_the_level() {
        for (wait_ms, kept) in [(21, false), (20, true)] {
            let mut dagor = Dagor {
                executor: Executor::new(1.0),
                levels: Levels::default(),
                waited: 0.0,
                started: 0,
                window_ends: at(1_000),
            };
            for user in 0..500 {
                dagor.levels.admit(level::of(&attempt(user), at(0)));
            }
            dagor.start(Duration::from_millis(wait_ms));
            dagor.tick(&Instruments::default(), at(1_000));
            assert_eq!(dagor.levels.admits_all(), kept);
        }
    }

    #[test]
    fn two_thousand_requests_end_a_window_early() {
        let mut dagor = make(&Site { knee: 1.0, ..SITE });
        for id in 0..1_999 {
            assert_ne!(dagor.arrive(attempt(id), at(0)), Answer::Shed(Refusal::default()));
        }
        dagor.depart(attempt(0), &success(100_000, 1), at(100));
        assert!(dagor.next(at(100)).is_some());
        dagor.arrive(attempt(1_999), at(100));
        assert_eq!(dagor.next_tick(), Some(at(1_100)));
    }
}
