//! Latency by the number in flight.

use std::ops::Range;
use std::time::Duration;

use super::cohort::{Cohort, Comparison, MOSTLY_WAITED};
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::time::Timestamp;

/// Compares attempts by how many were in flight when they were admitted.
///
/// Demand that rises is an experiment that costs nothing. Behind a queue the latency of an attempt is in
/// proportion to the number in flight at its admission; where nothing is scarce, it is the same at any number. A
/// service that becomes slower shows as one jump between two numbers, which is no queue.
#[derive(Debug, Default)]
pub(super) struct LatencyProfile {
    /// Recent attempts by the logarithm to base 2 of the number in flight.
    bands: [Band; BANDS],
    /// Time for which permits were held of late, and the part of it that attempts account for which have ended.
    held: f64,
    explained: f64,
    last: Timestamp,
}

/// Recent attempts with a similar number in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Band {
    attempts: Cohort,
    /// Sum of the numbers in flight at the end.
    in_flight_at_end: f64,
    /// When as many were in flight as in this band.
    at: Timestamp,
}

/// A queue behind an await.
#[derive(Debug)]
pub(super) struct HiddenQueue {
    /// The number in flight above which attempts wait for each other, with room for its standard error: a limit
    /// that is too low costs more than one that is too high.
    pub(super) knee: f64,
    /// Seconds that an attempt takes there, which does not wait.
    pub(super) free: f64,
    /// The lowest and the highest numbers in flight that show it.
    pub(super) seen: Comparison,
}

/// Bands for numbers up to the highest limit, which is below 2^20.
const BANDS: usize = 21;
/// Bands below the highest that a judgement rests on: a factor of eight is enough, and older attempts are far below.
const BANDS_BELOW: usize = 3;
/// A band stands for so many of its last attempts.
const MAX_SAMPLES: f64 = 32.0;
/// Attempts needed in the highest band, and in each of the others.
const MIN_SAMPLES_AT_TOP: f64 = 8.0;
const MIN_SAMPLES_BELOW: f64 = 4.0;
/// Elasticity of latency from one band to the next in a queue. Less, and most of the larger number did work; more, and
/// the latency has another cause.
const QUEUE_ELASTICITY: Range<f64> = 0.35..1.6;
/// Elasticity over all bands that is a queue, three standard errors above: the question is asked at each attempt.
const MIN_ELASTICITY: f64 = 0.4;
const DEVIATIONS: f64 = 3.0;
/// Turnovers of what is in flight that count as recent.
const RECENT_TURNOVERS: f64 = 2.0;
/// Standard errors by which latency that is called flat is nearer to flat than to a queue.
const FLAT_DEVIATIONS: f64 = 2.0;
/// Variance of a latency over its mean squared, at least: attempts that happen to take the same time do not make the
/// next one certain.
const MIN_SPREAD: f64 = 0.2;
/// The number in flight at the end of an attempt over that at its admission, from which on it grows.
const MIN_GROWTH: f64 = 1.15;

/// A queue that lasts no longer may be a burst. As long as requests are queued for by default.
pub(super) const MAX_BURST: Duration = Duration::from_secs(1);

impl LatencyProfile {
    /// Learns from an attempt, and how many were in flight when.
    pub(super) fn add(&mut self, sample: &Sample, now: Timestamp) {
        for (in_flight, at) in
            [(sample.in_flight, now - sample.latency), (sample.in_flight_at_end, now)]
        {
            let band = &mut self.bands[band(in_flight)];
            band.at = band.at.max(at);
        }
        self.explain(sample, now);
        self.learn(sample);
    }

    /// Learns from an answer. How long an attempt without one was held says nothing about a queue.
    pub(super) fn learn(&mut self, sample: &Sample) {
        if sample.outcome == Outcome::Success {
            self.bands[band(sample.in_flight)].add(sample);
        }
    }

    /// Counts the permit time that an attempt accounts for, whatever its outcome.
    fn explain(&mut self, sample: &Sample, now: Timestamp) {
        let in_flight = (sample.in_flight_at_end as f64).max(1.0);
        let kept = 1.0 - 1.0 / (RECENT_TURNOVERS * in_flight);
        self.held = kept * self.held + in_flight * now.since(self.last).as_secs_f64();
        self.explained = kept * self.explained + sample.latency.as_secs_f64();
        self.last = now;
    }

    /// The queue in which attempts like this one clearly waited.
    fn hidden_queue(&self, sample: &Sample) -> Option<HiddenQueue> {
        let top = band(sample.in_flight);
        let low = self.lowest_below(top)?;
        let seen = self.regression(low, top);
        let lower_bound = seen.elasticity - DEVIATIONS * seen.error;
        let is_queue = lower_bound > MIN_ELASTICITY
            && seen.elasticity < QUEUE_ELASTICITY.end
            && self.step_elasticity(top) >= QUEUE_ELASTICITY.start
            && (low + 1..=top).all(|band| self.step_elasticity(band) < QUEUE_ELASTICITY.end);
        is_queue.then(|| self.knee(low, top, seen))
    }

    /// Whether latency is shorter again with more in flight than at the admission of this attempt.
    ///
    /// The last to end of a band are the long ones. The first to end of the next are the short ones, which say nothing
    /// of those that may wait.
    pub(super) fn is_contradicted(&self, sample: &Sample) -> bool {
        let top = band(sample.in_flight);
        let is_shorter = top + 1 < BANDS && self.step_elasticity(top + 1) < 0.0;
        is_shorter && self.is_explained()
    }

    /// Whether the attempts that ended of late account for most of the time for which permits were held.
    fn is_explained(&self) -> bool {
        2.0 * self.explained >= self.held
    }

    /// The queue in which attempts like this one clearly waited, if it is no burst and the limit is far above its knee.
    pub(super) fn lasting_queue(
        &self,
        sample: &Sample,
        limit: f64,
        now: Timestamp,
    ) -> Option<HiddenQueue> {
        self.hidden_queue(sample).filter(|queue| {
            2.0 * queue.knee < limit && self.time_above(queue.knee / 2.0, now) >= MAX_BURST
        })
    }

    /// Latency that is the same at any number in flight up to that of this attempt, more likely than not.
    pub(super) fn flat(&self, sample: &Sample) -> Option<Comparison> {
        let top = band(sample.in_flight);
        let low = self.lowest_below(top)?;
        let seen = self.regression(low, top);
        // The first to end are the short ones: the others may wait.
        let is_flat = self.is_explained()
            && self.step_elasticity(top) < QUEUE_ELASTICITY.start
            && seen.elasticity + FLAT_DEVIATIONS * seen.error < MOSTLY_WAITED;
        is_flat.then_some(seen)
    }

    /// Whether more were in flight at the end of attempts like this one than at their admission, and at the end of
    /// those before them.
    pub(super) fn is_growing(&self, sample: &Sample) -> bool {
        let top = band(sample.in_flight);
        let (below, top) = (&self.bands[top.saturating_sub(1)], &self.bands[top]);
        let before = below.mean_in_flight_at_end().max(top.attempts.in_flight());
        top.mean_in_flight_at_end() >= MIN_GROWTH * before
    }

    /// For how long more than this number have been in flight.
    fn time_above(&self, in_flight: f64, now: Timestamp) -> Duration {
        let below = &self.bands[..=band(in_flight as usize)];
        now.since(below.iter().map(|band| band.at).max().unwrap_or_default())
    }

    /// The lowest band from which on all up to this one have enough attempts; two are needed at least.
    fn lowest_below(&self, top: usize) -> Option<usize> {
        let count = |band: usize| self.bands[band].attempts.count();
        let below = (top.saturating_sub(BANDS_BELOW)..top).rev();
        let low = below.take_while(|&band| count(band) >= MIN_SAMPLES_BELOW).last()?;
        (count(top) >= MIN_SAMPLES_AT_TOP && low + 2 <= top).then_some(low)
    }

    /// Elasticity of latency over these bands, by least squares.
    fn regression(&self, low: usize, top: usize) -> Comparison {
        let points = || {
            self.bands[low..=top].iter().map(|Band { attempts, .. }| {
                (attempts.count(), attempts.in_flight().ln(), attempts.cost().ln())
            })
        };
        let count: f64 = points().map(|(weight, ..)| weight).sum();
        let mean_x = points().map(|(weight, x, _)| weight * x).sum::<f64>() / count;
        let variance: f64 = points().map(|(weight, x, _)| weight * (x - mean_x).powi(2)).sum();
        let covariance: f64 = points().map(|(weight, x, y)| weight * (x - mean_x) * y).sum();
        let spreads = self.bands[low..=top].iter().map(|band| band.attempts.spread());
        let spread = spreads.fold(MIN_SPREAD, f64::max);
        Comparison {
            limits: (self.bands[low].attempts.in_flight(), self.bands[top].attempts.in_flight()),
            elasticity: covariance / variance,
            error: (spread / variance).sqrt(),
        }
    }

    /// Elasticity of latency from the band below to this one.
    fn step_elasticity(&self, band: usize) -> f64 {
        self.bands[band - 1].attempts.compare(&self.bands[band].attempts).elasticity
    }

    /// Little's law: what the highest band does in a second, at the latency of those that did not wait.
    fn knee(&self, low: usize, top: usize, seen: Comparison) -> HiddenQueue {
        let high = &self.bands[top].attempts;
        let rate = high.in_flight() / high.cost();
        let mut knee = high.in_flight();
        let (mut free, mut error) = (0.0, 0.0);
        // A lower knee leaves fewer bands below it, and so a shorter latency: once for each of them at most.
        for _ in low..=top {
            let below = self.bands[..top].iter().map(|band| band.attempts);
            let not_waiting = below
                .filter(|attempts| attempts.count() > 0.0 && attempts.in_flight() <= knee)
                .reduce(|all, attempts| all.and(&attempts))
                .unwrap_or(self.bands[low].attempts);
            free = not_waiting.cost();
            knee = rate * free;
            error = not_waiting.noise(high, MIN_SPREAD).sqrt();
        }
        HiddenQueue { knee: (knee * error.exp()).round().max(1.0), free, seen }
    }
}

impl Band {
    fn add(&mut self, sample: &Sample) {
        if self.attempts.count() >= MAX_SAMPLES {
            self.attempts.fade();
            self.in_flight_at_end /= 2.0;
        }
        self.attempts.add(sample, 0.0);
        self.in_flight_at_end += sample.in_flight_at_end as f64;
    }

    fn mean_in_flight_at_end(&self) -> f64 {
        self.in_flight_at_end / self.attempts.count().max(1.0)
    }
}

/// The band of a number in flight.
fn band(in_flight: usize) -> usize {
    (in_flight.max(1).ilog2() as usize).min(BANDS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// What a profile makes of one more in flight after another, each of which takes so many milliseconds.
    fn profile(up_to: usize, millis: impl Fn(usize) -> u64) -> Option<HiddenQueue> {
        let mut profile = LatencyProfile::default();
        let sample = |in_flight| {
            let latency = Duration::from_millis(millis(in_flight));
            Sample::new(latency, Outcome::Success).in_flight(in_flight)
        };
        (1..=up_to).for_each(|in_flight| profile.learn(&sample(in_flight)));
        profile.hidden_queue(&sample(up_to))
    }

    #[test]
    fn latency_in_proportion_to_the_number_in_flight_shows_a_queue_and_its_knee() {
        let queue = profile(60, |in_flight| (50 * in_flight as u64).max(200)).expect("a queue");
        assert!((4.0..8.0).contains(&queue.knee), "{queue:?}");
    }

    #[test]
    fn latency_that_does_not_depend_on_the_number_in_flight_shows_none() {
        assert!(profile(1_000, |in_flight| [20, 300][in_flight % 2]).is_none());
    }

    #[test]
    fn a_service_that_becomes_slower_once_shows_none() {
        for change in 1..100 {
            assert!(profile(100, |in_flight| if in_flight < change { 20 } else { 200 }).is_none());
        }
    }

    #[test]
    fn the_long_ones_that_are_left_of_fewer_in_flight_show_none() {
        let ends = |others_end: bool| {
            let mut profile = LatencyProfile::default();
            let mut now = Timestamp::ZERO;
            let mut add = |in_flight: usize, millis| {
                let sample = Sample::new(Duration::from_millis(millis), Outcome::Success);
                let sample = sample.in_flight(in_flight).in_flight_at_end(in_flight);
                let gap = if others_end { millis / in_flight as u64 } else { 100 };
                now = now + Duration::from_millis(gap);
                profile.add(&sample, now);
                profile.hidden_queue(&sample).is_some() && !profile.is_contradicted(&sample)
            };
            for in_flight in [5, 11] {
                (0..30).for_each(|_| _ = add(in_flight, 300));
            }
            (0..30).for_each(|_| _ = add(48, 300));
            (0..30).any(|_| add(24, 1_000))
        };
        assert!(!ends(true), "with more in flight attempts end as soon as ever");
        assert!(ends(false), "but not if only some of them have ended");
    }

    /// Whether latency seems flat when a request that takes so many milliseconds starts each millisecond, and half
    /// of them if `half`.
    fn is_flat(millis: impl Fn(usize) -> u64, half: bool, seconds: u64) -> bool {
        let mut profile = LatencyProfile::default();
        let mut ends: Vec<(u64, usize, u64)> = Vec::new();
        for (in_flight, start) in (1..=100).chain(std::iter::repeat(100)).zip(0..seconds * 1_000) {
            let fast = half && start % 2 == 0;
            let millis = if fast { 1 } else { millis(in_flight) };
            ends.push((start + millis, in_flight, millis));
        }
        ends.retain(|&(end, ..)| end < seconds * 1_000);
        ends.sort_unstable();
        ends.iter().any(|&(end, in_flight, millis)| {
            let sample = Sample::new(Duration::from_millis(millis), Outcome::Success);
            let sample = sample.in_flight(in_flight).in_flight_at_end(in_flight);
            let now = Timestamp::ZERO + Duration::from_millis(end);
            profile.add(&sample, now);
            in_flight >= 64 && profile.flat(&sample).is_some()
        })
    }

    #[test]
    fn latency_is_flat_where_nothing_is_scarce() {
        assert!(is_flat(|_| 100, false, 1));
        assert!(!is_flat(|in_flight| 2 * in_flight as u64, false, 1));
    }

    #[test]
    fn latency_is_not_flat_while_only_the_fast_half_has_ended() {
        assert!(!is_flat(|in_flight| 20 * in_flight as u64, true, 1));
    }
}
