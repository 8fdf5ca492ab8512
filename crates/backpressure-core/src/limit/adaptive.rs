//! The limit that measures itself.

use std::time::Duration;

use crate::limit::{Limit, MAX, Metering, ran_at, rounded};
use crate::limit_change::{Cause, LimitChange};
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::time::Timestamp;

mod bottleneck;
pub mod client_limit;
mod cohort;
mod experiment;
mod last_increase;
mod profile;
mod search;
mod tracker;
mod window;

use bottleneck::Bottleneck;
use profile::LatencyProfile;
use window::Window;

/// Finds how many requests this process can usefully run at once, and follows it when it changes.
///
/// Where the bottleneck is this process, an admitted request spends part of its time woken but not
/// run. That part is no work: by Little's law the concurrency that does work is
/// `m = L · Σ(W − Q) / ΣW` over the requests that ran at the limit `L`, where `W` is the latency
/// and `Q` the time spent waiting for a worker. The limit moves to `m` and some room for chance:
///
/// `T = m + 4.5·√(m·p·(1 − p)) + max(1, m/20)`
///
/// with `p` the share of `W − Q` spent away from the worker. The more of a request is waiting, the
/// more requests must overlap to keep a worker busy; a pure computation needs none. No baseline is
/// remembered, so none can drift; it converges in a few windows from any overload, whatever the
/// distribution of service times.
///
/// Where nothing is seen to queue here, the bottleneck is behind an await, where latency alone
/// cannot tell slower from fuller. Under overload the limit then finds the knee by experiment: it
/// runs at two limits by turns and compares; the share of the difference that goes into latency
/// says on which side of the knee they are. It begins where attempts that were admitted at rising
/// numbers in flight show the knee, if they do: their latency then rises in proportion. Without overload it only grows, as long as growing pays
/// in throughput. An idle service is never narrowed, and nothing is refused for the sake of CPU
/// time that a refusal would cost as well.
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
    /// Where it started.
    initial: f64,
    /// An operator's bounds.
    bounds: (f64, f64),
    /// Workers that run requests.
    workers: f64,
    /// All attempts since the last decision.
    all: Window,
    /// Those that ran while the limit was reached.
    full: Window,
    /// Samples before this were made under an older limit.
    settled: Timestamp,
    /// Seconds that workers have spent on attempts since `since`.
    worked: f64,
    since: Timestamp,
    bottleneck: Bottleneck,
    /// Latency by the number in flight.
    profile: LatencyProfile,
    overloaded: bool,
    /// When overload last started or ended.
    demand_changed: Timestamp,
    /// Whether requests were seen to wait for workers that were all busy, at this limit or above it.
    seen: bool,
    /// Whether the workers were the bottleneck of late.
    busy: bool,
    /// Seconds that an answer took of late.
    answer: f64,
    /// When a lower limit may be tried because callers leave, and the pause until the next time.
    lowering: (Timestamp, Duration),
    yields: bool,
    decision: Option<LimitChange>,
}

/// Places a worker starts with: few enough that a cold start under storm is over in one window.
const INITIAL_PER_WORKER: usize = 12;
/// No decision multiplies or divides the limit by more: a target far away is an extrapolation.
const MAX_FACTOR_PER_DECISION: f64 = 3.0;
/// Attempts that show a limit to be twice too high: most of their time is spent waiting.
const MIN_SAMPLES_FAR_TOO_HIGH: f64 = 8.0;
/// Share of the time for which the workers are busy, from which on they are the bottleneck.
const BUSY_WORKERS_SHARE: f64 = 0.9;
/// Target over limit below which the workers are the bottleneck although requests do not keep them busy: other tasks
/// of the process do.
const FAR_TOO_HIGH_TARGET_SHARE: f64 = 0.7;
/// Bounds of the time between two attempts to find a limit below the number in flight at which callers are served. It
/// doubles each time: where callers leave whatever the limit, a try rejects some of those that would have been served.
const MIN_TIME_BETWEEN_LOWERINGS: Duration = Duration::from_secs(2);
const MAX_TIME_BETWEEN_LOWERINGS: Duration = Duration::from_secs(120);

impl Adaptive {
    /// A limit for a process with so many worker threads.
    ///
    /// # Panics
    /// When `workers` is not in 1..=4096.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        assert!((1..=4_096).contains(&workers), "workers must be in 1..=4096");
        let limit = (workers * INITIAL_PER_WORKER) as f64;
        Self {
            limit,
            initial: limit,
            bounds: (1.0, MAX as f64),
            workers: workers as f64,
            all: Window::default(),
            full: Window::default(),
            settled: Timestamp::ZERO,
            worked: 0.0,
            since: Timestamp::ZERO,
            bottleneck: Bottleneck::Here(None),
            profile: LatencyProfile::default(),
            overloaded: false,
            demand_changed: Timestamp::ZERO,
            seen: false,
            busy: false,
            answer: 0.0,
            lowering: (Timestamp::ZERO, MIN_TIME_BETWEEN_LOWERINGS),
            yields: true,
            decision: None,
        }
    }

    /// Attempts a decision rests on: two turnovers of the limit, within reason.
    fn enough(&self) -> f64 {
        (2.0 * self.limit).clamp(32.0, 400.0)
    }

    /// A limit twice too high shows in a few attempts: most of their time is spent waiting.
    fn is_far_too_high(&self) -> bool {
        self.full.count() >= MIN_SAMPLES_FAR_TOO_HIGH
            && self.full.is_worth_refusing()
            && 2.0 * self.full.target() < self.limit
    }

    /// A window's worth of attempts ran while the limit was reached.
    fn decide_full(&mut self, now: Timestamp) {
        let full = std::mem::take(&mut self.full);
        self.all = Window::default();
        self.yields = full.is_worth_refusing();
        let span = now.since(self.since).as_secs_f64();
        self.busy = self.yields && self.worked > BUSY_WORKERS_SHARE * self.workers * span;
        self.seen = self.busy || self.queues(&full);
        (self.worked, self.since) = (0.0, now);
        if self.is_too_high(&full) {
            self.bottleneck = Bottleneck::Here(None);
            let lower = full.target().max(self.limit / MAX_FACTOR_PER_DECISION);
            self.follow(lower, &full, now);
        } else {
            self.look_for_more(&full, now);
        }
    }

    /// Whether requests wait for a worker because too many run.
    fn is_too_high(&self, full: &Window) -> bool {
        let target = full.target();
        let ours = match self.bottleneck {
            Bottleneck::Here(_) => true,
            Bottleneck::Elsewhere(_) => {
                self.busy || target < FAR_TOO_HIGH_TARGET_SHARE * self.limit
            }
        };
        self.queues(full) && target < self.limit && ours
    }

    /// Whether waiting for a worker is worth mentioning.
    fn queues(&self, full: &Window) -> bool {
        self.yields && full.has_run_queue()
    }

    /// The limit was not reached for a whole window: it stays near what the service can do, so that a
    /// sudden storm is not let in as a whole.
    fn decide_calm(&mut self, now: Timestamp) {
        let all = std::mem::take(&mut self.all);
        (self.worked, self.since) = (0.0, now);
        self.yields = all.is_worth_refusing();
        self.answer = all.answer().unwrap_or(self.answer);
        if all.is_abandoned(self.answer) {
            return self.look_for_less(&all, now);
        }
        // A queue behind an await looks like work away from the worker: that raises no limit by itself.
        let sight = (2.0 * all.workers_knee(self.workers) + 2.0).min(self.limit.max(self.initial));
        // What ended says nothing of attempts that take longer than a window: those are in flight.
        let in_use = (2.0 * all.most_useful()).min(self.limit);
        if self.yields && self.full.is_empty() {
            self.go_to(sight.max(in_use), Cause::Idle, &all, now);
        }
    }

    /// Goes where the run queue says.
    ///
    /// Never below the number of workers: each can run one.
    fn follow(&mut self, limit: f64, seen: &Window, now: Timestamp) {
        let limit = limit.max(self.workers);
        let cause = Cause::RunQueue { waited: seen.queue_share(), useful: seen.useful() };
        self.go_to(limit, cause, seen, now);
    }

    fn go_to(&mut self, limit: f64, cause: Cause, seen: &Window, now: Timestamp) {
        let limit = limit.clamp(self.bounds.0, self.bounds.1);
        if (limit / self.limit - 1.0).abs() > 0.1 {
            self.settled = now + seen.mean_latency();
        }
        self.set(limit, cause, now);
    }

    fn set(&mut self, limit: f64, cause: Cause, now: Timestamp) {
        let from = self.limit();
        self.limit = limit;
        let to = self.limit();
        if from != to {
            self.decision = Some(LimitChange { at: now, from, to, cause });
        }
    }
}

impl Limit for Adaptive {
    fn limit(&self) -> usize {
        rounded(self.limit).clamp(1, MAX)
    }

    fn observe(&mut self, sample: &Sample, now: Timestamp) {
        self.worked += f64::from(sample.weight) * sample.busy.as_secs_f64();
        if sample.outcome == Outcome::Ignore || now < self.settled {
            return;
        }
        if matches!(sample.outcome, Outcome::Success | Outcome::Cancelled) {
            self.all.add(sample);
            if ran_at(sample, self.limit() as f64) {
                self.all.ran_at_limit();
                self.full.add(sample);
            }
        }
        if let Bottleneck::Elsewhere(experiment) = &mut self.bottleneck {
            if let Some(cause) = experiment.observe(sample, now) {
                let limit = experiment.limit();
                self.set(limit, cause, now);
            }
        }
        self.profile.add(sample, now);
        if let Some(queue) = self.hidden_queue(sample, now) {
            self.go_to_knee(&queue, sample, now);
        } else if self.full.count() >= self.enough() || self.is_far_too_high() {
            self.decide_full(now);
        } else if self.all.count() >= self.enough() {
            self.decide_calm(now);
        }
    }

    fn demand(&mut self, overloaded: bool, now: Timestamp) {
        self.overloaded = overloaded;
        self.demand_changed = now;
        if let Bottleneck::Elsewhere(experiment) = &mut self.bottleneck {
            experiment.demand(overloaded);
            let limit = experiment.limit();
            self.set(limit, Cause::Demand { overloaded }, now);
        }
    }

    fn last_change(&self) -> Option<LimitChange> {
        self.decision
    }

    fn is_known(&self) -> bool {
        match &self.bottleneck {
            Bottleneck::Here(_) => self.seen,
            Bottleneck::Elsewhere(experiment) => experiment.is_known(),
        }
    }

    /// Twice as many: what holds the places is not what was measured, and nothing is lost.
    fn observe_apart(&mut self, sample: &Sample) {
        if sample.outcome == Outcome::Success {
            self.all.add(sample);
            self.profile.learn(sample);
        }
    }

    fn stalled(&mut self, now: Timestamp) {
        if self.is_in_vain() {
            // Callers that leave all at once are no stall.
            return;
        }
        let higher = (2.0 * self.limit).min(self.bounds.1);
        match &mut self.bottleneck {
            Bottleneck::Here(step) => (*step, self.seen) = (None, false),
            Bottleneck::Elsewhere(experiment) => experiment.stalled(higher),
        }
        (self.all, self.full) = (Window::default(), Window::default());
        (self.worked, self.since) = (0.0, now);
        self.set(higher, Cause::Stalled, now);
    }

    fn is_in_vain(&self) -> bool {
        matches!(&self.bottleneck, Bottleneck::Elsewhere(experiment) if experiment.is_in_vain())
    }

    fn counts_waiting(&self) -> bool {
        false
    }

    fn bound(&mut self, min: usize, max: usize) {
        self.bounds = (min as f64, max as f64);
        self.limit = self.limit.clamp(self.bounds.0, self.bounds.1);
    }

    fn start_at(&mut self, initial: usize) {
        self.limit = (initial as f64).clamp(self.bounds.0, self.bounds.1);
        self.initial = self.limit;
        self.bottleneck = Bottleneck::Here(None);
    }

    fn workers(&self) -> Option<usize> {
        Some(self.workers as usize)
    }

    fn metering(&self) -> Metering {
        Metering::RunQueue
    }

    fn yields(&self) -> bool {
        self.yields
    }
}
