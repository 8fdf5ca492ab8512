//! The limit that measures itself.

use std::time::Duration;

use crate::limit::{Limit, MAX, Metering};
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::time::Timestamp;

mod growth;
mod window;

use growth::Growth;
use window::Window;

/// Finds how many requests this process can usefully run at once, and follows it when it changes.
///
/// Where the bottleneck is this process, an admitted request spends part of its time woken but not
/// run. That part is no work: by Little's law the concurrency that does work is
/// `m = L · Σ(W − Q) / ΣW` over the requests that ran at the limit `L`, where `W` is the latency
/// and `Q` the time spent waiting for a worker. The limit moves to `m` and some room for chance:
///
/// `T = m + 1.5·√(m·p·(1 − p)) + max(1, m/20)`
///
/// with `p` the share of `W − Q` spent away from the worker. The more of a request is waiting, the
/// more requests must overlap to keep a worker busy; a pure computation needs none. No baseline is
/// remembered, so none can drift; it converges in a few windows from any overload, whatever the
/// distribution of service times.
///
/// Where nothing is seen to queue here, the limit grows only when it is reached, and only as long
/// as growing pays in throughput. An idle service is never narrowed, and nothing is refused for
/// the sake of CPU time that a refusal would cost as well.
///
/// Source: Little, *A proof for the queuing formula L = λW* (1961); the room for chance is that of
/// square-root staffing (Halfin and Whitt, 1981).
///
/// ```
/// use backpressure_core::{Adaptive, Limit};
///
/// let limit = Adaptive::new(2);
/// assert_eq!(limit.limit(), 24);
/// ```
#[derive(Debug)]
pub struct Adaptive {
    /// The limit, before rounding.
    limit: f64,
    /// Workers that run requests.
    workers: f64,
    /// All attempts since the last decision.
    all: Window,
    /// Those that ran while the limit was reached.
    full: Window,
    /// Samples before this were made under an older limit.
    settled: Timestamp,
    growth: Growth,
    yields: bool,
}

/// Places a worker starts with: few enough that a cold start under storm is over in one window.
const INITIAL_PER_WORKER: usize = 12;
/// Standard deviations of the number that are away from the worker.
const ROOM: f64 = 1.5;
/// Part of the way to the target that one decision goes.
const GAIN: f64 = 0.8;
/// No decision divides the limit by more.
const STEEPEST: f64 = 0.2;
/// A target this many times the limit is far above it.
const FAR_BELOW: f64 = 1.1;
/// Attempts that show a limit to be twice too high.
const CLEAR: f64 = 8.0;
/// Below this share of latency, waiting for a worker is noise.
const NO_QUEUE: f64 = 0.02;
/// Attempts admitted with this share of the limit in flight ran at the limit.
const NEARLY_FULL: f64 = 0.9;
/// A request that keeps a worker for less is not worth refusing for it: reading it and answering
/// 503 takes some 10 µs, and the yield that makes its queue visible about 1 µs.
const WORTH_REFUSING: Duration = Duration::from_micros(25);
/// Share of attempts refused further down that ask for less.
const PUSHBACK: f64 = 0.05;

impl Adaptive {
    /// A limit for a process with so many worker threads.
    ///
    /// # Panics
    /// When `workers` is not in 1..=4096.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        assert!((1..=4_096).contains(&workers), "workers must be in 1..=4096");
        Self {
            limit: (workers * INITIAL_PER_WORKER) as f64,
            workers: workers as f64,
            all: Window::default(),
            full: Window::default(),
            settled: Timestamp::ZERO,
            growth: Growth::default(),
            yields: true,
        }
    }

    /// Attempts a decision rests on: two turnovers of the limit, within reason.
    fn enough(&self) -> f64 {
        (2.0 * self.limit).clamp(32.0, 400.0)
    }

    /// A limit twice too high shows in a few attempts: most of their time is spent waiting.
    fn is_far_too_high(&self) -> bool {
        self.full.count() >= CLEAR
            && is_worth_refusing(&self.full)
            && 2.0 * self.target(&self.full) < self.limit
    }

    fn decide_full(&mut self, now: Timestamp) {
        let full = std::mem::take(&mut self.full);
        self.all = Window::default();
        self.yields = is_worth_refusing(&full);
        let target = self.target(&full);
        if full.overload_share() > PUSHBACK {
            self.go_to(self.limit * 0.9, &full, now);
        } else if self.yields && target < self.limit {
            self.growth.reset();
            let lower = self.limit + GAIN * (target - self.limit);
            self.go_to(lower.max(STEEPEST * self.limit), &full, now);
        } else if !self.yields || full.queue_share() < NO_QUEUE {
            let next = self.growth.next(self.limit, &full);
            self.go_to(next, &full, now);
        } else if target > self.limit {
            // Well below what the workers could overlap there is no need to feel the way.
            let far = target > FAR_BELOW * self.limit;
            let reach = if far { target.max(self.knee(&full)) } else { target };
            let higher = self.limit + GAIN * (reach - self.limit);
            self.go_to(higher.min(2.0 * self.limit), &full, now);
        }
    }

    /// Little's law and room for chance; see the type.
    fn target(&self, full: &Window) -> f64 {
        let useful = full.mean_in_flight() * (1.0 - full.queue_share());
        let away = full.away_share();
        useful + ROOM * (useful * away * (1.0 - away)).sqrt() + (0.05 * useful).max(1.0)
    }

    /// The limit was not reached for a whole window: keep it within sight of what could be used,
    /// so that a sudden storm finds a door and not a barn.
    fn decide_calm(&mut self) {
        let all = std::mem::take(&mut self.all);
        self.yields = is_worth_refusing(&all);
        if self.yields && self.full.is_empty() {
            self.limit = self.limit.min(2.0 * self.knee(&all) + 2.0).max(1.0);
        }
    }

    /// How many requests the workers could overlap if they had nothing else to do.
    fn knee(&self, seen: &Window) -> f64 {
        self.workers / (1.0 - seen.away_share()).max(1e-6)
    }

    fn go_to(&mut self, limit: f64, seen: &Window, now: Timestamp) {
        let limit = limit.clamp(1.0, MAX as f64);
        if (limit / self.limit - 1.0).abs() > 0.1 {
            self.settled = now + seen.mean_latency();
        }
        self.limit = limit;
    }
}

fn is_worth_refusing(seen: &Window) -> bool {
    seen.mean_busy() >= WORTH_REFUSING.as_secs_f64()
}

impl Limit for Adaptive {
    fn limit(&self) -> usize {
        (self.limit.round() as usize).clamp(1, MAX)
    }

    fn observe(&mut self, sample: &Sample, now: Timestamp) {
        if sample.outcome == Outcome::Ignore || now < self.settled {
            return;
        }
        self.all.add(sample, now);
        if sample.in_flight as f64 >= NEARLY_FULL * self.limit() as f64 {
            self.full.add(sample, now);
        }
        if self.full.count() >= self.enough() || self.is_far_too_high() {
            self.decide_full(now);
        } else if self.all.count() >= self.enough() {
            self.decide_calm();
        }
    }

    fn metering(&self) -> Metering {
        Metering::RunQueue
    }

    fn yields(&self) -> bool {
        self.yields
    }
}
