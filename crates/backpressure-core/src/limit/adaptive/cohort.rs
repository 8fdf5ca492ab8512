//! Latencies measured under one limit.

use std::time::Duration;

use crate::limit_change::Cause;
use crate::outcome::Outcome;
use crate::sample::Sample;

/// The measurements of attempts that were admitted under one limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cohort {
    /// Attempts that ended, and those of them that were answered.
    count: f64,
    answered: f64,
    /// Sums of the useful latencies in seconds, and of their squares.
    seconds: f64,
    squares: f64,
    in_flight: f64,
}

/// Shorter latencies count as this one, since zero has no logarithm.
const SHORTEST: Duration = Duration::from_nanos(100);
/// Attempts that any judgement rests on at least. With fewer, a mean of exponential latencies is known to no
/// better than a quarter; with more, a start at ten requests a second takes seconds longer.
pub(super) const MIN_SAMPLES: f64 = 16.0;
/// Share of a difference in limits that went into waiting, above which more of it waited than not.
pub(super) const MOSTLY_WAITED: f64 = 0.5;
/// Answers assumed where there was none: the next attempt might have been answered.
const NONE_ANSWERED: f64 = 0.5;
/// A few attempts that happen to take the same time do not make the next one certain.
const LEAST_SPREAD: f64 = 0.5;

impl Cohort {
    /// Adds an attempt. `usual` is the usual latency in seconds; zero: unknown.
    ///
    /// An attempt without a response counts in proportion to the time for which it held its permit. One that
    /// failed at once counts for nothing, so that failures which load does not cause change nothing.
    pub(super) fn add(&mut self, sample: &Sample, usual: f64) {
        let seconds = sample.useful().max(SHORTEST).as_secs_f64();
        let weight = turnover(sample, usual);
        self.count += weight;
        self.answered += f64::from(u8::from(sample.outcome == Outcome::Success));
        self.seconds += weight * seconds;
        self.squares += weight * seconds * seconds;
        self.in_flight += weight * sample.in_flight as f64;
    }

    /// The attempts of both cohorts.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            count: self.count + other.count,
            answered: self.answered + other.answered,
            seconds: self.seconds + other.seconds,
            squares: self.squares + other.squares,
            in_flight: self.in_flight + other.in_flight,
        }
    }

    /// Halves the weight of the attempts so far.
    pub(super) fn fade(&mut self) {
        self.count /= 2.0;
        self.answered /= 2.0;
        self.seconds /= 2.0;
        self.squares /= 2.0;
        self.in_flight /= 2.0;
    }

    /// Seconds that an attempt which is in flight at some instant still takes, on average.
    pub(super) fn residual(&self) -> f64 {
        self.mean() * (1.0 + self.spread()) / 2.0
    }

    pub(super) const fn count(&self) -> f64 {
        self.count
    }

    /// Mean latency in seconds.
    pub(super) fn mean(&self) -> f64 {
        self.seconds / self.count.max(1.0)
    }

    /// Variance of one latency, over the mean squared.
    pub(super) fn spread(&self) -> f64 {
        let mean = self.mean();
        if mean > 0.0 { (self.squares / self.count / (mean * mean) - 1.0).max(0.0) } else { 0.0 }
    }

    /// Seconds that permits were held for each response: attempts without one add to the cost of those with
    /// one.
    pub(super) fn cost(&self) -> f64 {
        self.seconds / self.answered.max(NONE_ANSWERED)
    }

    /// Whether most attempts were cancelled before their response.
    pub(super) fn is_in_vain(&self) -> bool {
        2.0 * self.answered < self.count
    }

    pub(super) fn is_unanswered(&self) -> bool {
        self.answered == 0.0
    }

    /// Share of the attempts that were cancelled before their response.
    pub(super) fn abandoned_share(&self) -> f64 {
        1.0 - self.answered / self.count
    }

    pub(super) fn in_flight(&self) -> f64 {
        (self.in_flight / self.count.max(1.0)).max(1.0)
    }

    /// Compares these attempts with those at a higher limit.
    pub(super) fn compare(&self, higher: &Self) -> Comparison {
        let limits = (self.in_flight(), higher.in_flight());
        let wider = (limits.1 / limits.0).ln();
        if wider <= 0.0 || self.count == 0.0 {
            return Comparison { limits, elasticity: 0.5, error: f64::INFINITY };
        }
        // Where no attempt is answered, the capacity is found further down.
        let in_vain = higher.answered == 0.0;
        let slower = if in_vain { wider } else { (higher.cost() / self.cost()).ln() };
        let noise = self.noise(higher, LEAST_SPREAD);
        Comparison { limits, elasticity: slower / wider, error: noise.sqrt() / wider }
    }

    /// Whether the latency differs from `usual`, beyond doubt and by a factor that matters.
    pub(super) fn differs_from(&self, usual: &Self, least: f64, deviations: f64) -> bool {
        let apart = (self.cost() / usual.cost()).ln().abs();
        apart > least && apart > deviations * self.noise(usual, 0.0).sqrt()
    }

    /// Variance of the logarithm of the ratio of two costs.
    pub(super) fn noise(&self, other: &Self, least_spread: f64) -> f64 {
        let both = self.and(other);
        let spread = self.spread().max(other.spread()).max(least_spread);
        let unanswered = (both.count - both.answered) / both.answered.max(NONE_ANSWERED);
        (spread + unanswered) * (1.0 / self.count + 1.0 / other.count)
    }
}

/// How much of one attempt an attempt counts for: one with a response, otherwise its time as a share of the
/// usual latency.
pub(super) fn turnover(sample: &Sample, usual: f64) -> f64 {
    match sample.outcome {
        Outcome::Success => 1.0,
        _ if usual > 0.0 => (sample.useful().as_secs_f64() / usual).min(1.0),
        _ => 1.0,
    }
}

/// The comparison of two limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    /// Attempts in flight: the lower number, and the higher.
    pub(super) limits: (f64, f64),
    /// Per cent of latency for a per cent of limit: 0, all of it was used; 1, all of it waited.
    pub(super) elasticity: f64,
    /// Standard deviation of the elasticity.
    pub(super) error: f64,
}

impl From<Comparison> for Cause {
    fn from(Comparison { limits, elasticity, error }: Comparison) -> Self {
        Self::Experiment { limits, elasticity, error }
    }
}
