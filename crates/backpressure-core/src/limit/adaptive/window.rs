//! Sums over the attempts between two decisions.

use std::time::Duration;

use crate::outcome::Outcome;
use crate::sample::Sample;

/// What a number of attempts measured. Ratios of sums, never means of ratios: a mix of short and
/// long requests would bend those.
#[derive(Debug, Default)]
pub(super) struct Window {
    count: f64,
    answered: f64,
    /// Seconds, each.
    latency: f64,
    answered_latency: f64,
    run_queue: f64,
    marked: f64,
    busy: f64,
    in_flight: f64,
    most_in_flight: f64,
    /// Attempts that ran while the limit was reached.
    at_limit: f64,
}

/// Room above the useful concurrency, in standard deviations of the number of requests away from the worker. With 1.5
/// or 3, four workers reach .93 or .97 of the goodput; with 4.5, .99 at a p99 of 1.13 latencies.
const STAFFING_ROOM_DEVIATIONS: f64 = 4.5;
/// Share of latency below which waiting for a worker is noise.
const RUN_QUEUE_SHARE_NOISE_FLOOR: f64 = 0.02;
/// Worker time per answer below which a request is not worth refusing. Reading it and answering 503 takes about
/// 10 µs, and the yield that makes its queue visible about 1 µs.
const MIN_WORKER_TIME_WORTH_REFUSING: Duration = Duration::from_micros(25);
/// Share of the attempts and of the permit time that answered attempts stay below where the others were given up. A
/// caller that asks two or three replicas at once and takes the first answer leaves more.
const MAX_ANSWERED_SHARE_ABANDONED: f64 = 0.25;

impl Window {
    pub(super) fn add(&mut self, sample: &Sample) {
        self.count += 1.0;
        if sample.outcome == Outcome::Success {
            self.answered += 1.0;
            self.answered_latency += sample.latency.as_secs_f64();
        }
        self.latency += sample.latency.as_secs_f64();
        self.run_queue += sample.run_queue.as_secs_f64();
        self.marked += sample.marked.as_secs_f64();
        self.busy += sample.busy.as_secs_f64();
        self.in_flight += sample.in_flight as f64;
        self.most_in_flight = self.most_in_flight.max(sample.in_flight as f64);
    }

    /// The attempt that was added last ran while the limit was reached.
    pub(super) fn ran_at_limit(&mut self) {
        self.at_limit += 1.0;
    }

    /// Whether most attempts ran while the limit was reached.
    pub(super) fn is_at_limit(&self) -> bool {
        2.0 * self.at_limit > self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    pub(super) fn count(&self) -> f64 {
        self.count
    }

    /// Whether most attempts were cancelled before their response.
    pub(super) fn is_in_vain(&self) -> bool {
        2.0 * self.answered < self.count
    }

    /// Whether so few attempts were answered that fewer in flight can hardly lead to less, where an answer took so many
    /// seconds. Callers that leave sooner would not be served at any limit.
    pub(super) fn is_abandoned(&self, answer: f64) -> bool {
        let left = (self.latency - self.answered_latency) / (self.count - self.answered);
        self.answered < MAX_ANSWERED_SHARE_ABANDONED * self.count
            && self.answered_latency < MAX_ANSWERED_SHARE_ABANDONED * self.latency
            && left >= answer
    }

    /// Mean latency of the answers in seconds; `None`: there was none.
    pub(super) fn answer(&self) -> Option<f64> {
        (self.answered > 0.0).then(|| self.answered_latency / self.answered)
    }

    /// Share of attempts that were cancelled before their response.
    pub(super) fn abandoned_share(&self) -> f64 {
        1.0 - share(self.answered, self.count)
    }

    /// Share of latency spent waiting for a worker.
    pub(super) fn queue_share(&self) -> f64 {
        share(self.run_queue, self.latency)
    }

    /// Whether requests measurably waited for a worker.
    pub(super) fn has_run_queue(&self) -> bool {
        self.queue_share() >= RUN_QUEUE_SHARE_NOISE_FLOOR
    }

    /// Whether a refusal saves more worker time than it costs. Without an answer that is unknown, and assumed. A
    /// request that waits for something scarce, and says so, costs more than its worker time.
    pub(super) fn is_worth_refusing(&self) -> bool {
        let seconds = self.busy_for_each_answer();
        let is_marked = share(self.marked, self.latency) >= RUN_QUEUE_SHARE_NOISE_FLOOR;
        self.answered == 0.0 || is_marked || seconds >= MIN_WORKER_TIME_WORTH_REFUSING.as_secs_f64()
    }

    /// How many requests so many workers could overlap if nothing else occupied them.
    pub(super) fn workers_knee(&self, workers: f64) -> f64 {
        workers / (1.0 - self.away_share()).max(1e-6)
    }

    /// Share of the useful time spent away from the worker.
    pub(super) fn away_share(&self) -> f64 {
        1.0 - share(self.busy, self.latency - self.run_queue)
    }

    /// Seconds on a worker for each answer: attempts that were cancelled may never have run.
    fn busy_for_each_answer(&self) -> f64 {
        self.busy / self.answered
    }

    /// Seconds.
    pub(super) fn mean_useful(&self) -> f64 {
        (self.latency - self.run_queue).max(0.0) / self.count.max(1.0)
    }

    /// How much of the way from another number in flight went into useful latency.
    pub(super) fn elasticity(&self, from: f64, useful: f64) -> f64 {
        let wider = (self.mean_in_flight() / from).ln();
        let slower = (self.mean_useful() / useful).ln();
        if wider > 0.03 && slower.is_finite() { slower / wider } else { 0.0 }
    }

    /// How many did useful work at once, by Little's law.
    pub(super) fn useful(&self) -> f64 {
        self.mean_in_flight() * (1.0 - self.queue_share())
    }

    /// Little's law and room for chance; see [`Adaptive`](super::Adaptive).
    pub(super) fn target(&self) -> f64 {
        let (useful, away) = (self.useful(), self.away_share());
        useful
            + STAFFING_ROOM_DEVIATIONS * (useful * away * (1.0 - away)).sqrt()
            + (0.05 * useful).max(1.0)
    }

    pub(super) fn mean_in_flight(&self) -> f64 {
        self.in_flight / self.count.max(1.0)
    }

    /// The most that were in flight without waiting for a worker.
    pub(super) fn most_useful(&self) -> f64 {
        self.most_in_flight * (1.0 - self.queue_share())
    }

    pub(super) fn mean_latency(&self) -> Duration {
        Duration::try_from_secs_f64(self.latency / self.count.max(1.0)).unwrap_or(Duration::ZERO)
    }
}

/// `part / whole` in 0..=1; 0 of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 }
}
