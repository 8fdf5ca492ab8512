//! Uber's Cinnamon: a rejector by priority, a priority queue, and an adaptive limit behind it.
//!
//! Source: the three Uber Engineering posts of November and December 2023 (six tiers of 128 cohorts, p90 of 2 s
//! and 250 samples, the rejector's target and gains); the limit is failsafe-go's, which is modelled on it. Not
//! published, so chosen here: the queue holds three times the limit (failsafe-go's `BuildPrioritized`), and a
//! wait lasts a third of the time to the deadline, or half a second (the defaults of
//! jfrz38/rate-limit-pid-controller). Left out: priorities by caller.

mod rejector;

use std::collections::BTreeMap;
use std::time::Duration;

use backpressure_core::{Priority, Sample, Timestamp};

use crate::controller::cinnamon::rejector::Rejector;
use crate::controller::failsafe::Adaptive;
use crate::controller::limiter::{LimitAlgorithm, teaches};
use crate::controller::{Answer, AttemptInfo, Controller, Instruments, Next, Refusal, Site};

#[derive(Debug)]
struct Cinnamon {
    algorithm: Adaptive,
    rejector: Rejector,
    in_flight: usize,
    /// The best level first, and within a level in the order of arrival.
    queue: BTreeMap<Place, Waiting>,
    places: BTreeMap<u64, Place>,
    late: Vec<u64>,
    arrivals: u64,
    next_tick: Timestamp,
}

/// Level, and the number of the arrival.
type Place = (u32, u64);

#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: u64,
    until: Timestamp,
}

pub(super) fn make(_site: &Site) -> Box<dyn Controller> {
    Box::new(Cinnamon {
        algorithm: Adaptive::new(MIN_SAMPLES, SHORTEST_WINDOW),
        rejector: Rejector::default(),
        in_flight: 0,
        queue: BTreeMap::new(),
        places: BTreeMap::new(),
        late: Vec::new(),
        arrivals: 0,
        next_tick: Timestamp::ZERO + rejector::INTERVAL,
    })
}

/// 0 is the best of 768.
fn level(attempt: &AttemptInfo) -> u32 {
    let tier = match attempt.arrival.priority {
        Priority::Critical => 1,
        Priority::Deferrable => 4,
        Priority::Sheddable => 5,
        _ => 3,
    };
    tier * COHORTS + (attempt.user.wrapping_mul(0x9e37_79b9) >> 16) % COHORTS
}

fn patience(attempt: &AttemptInfo, now: Timestamp) -> Timestamp {
    now + attempt.arrival.deadline.map_or(LONGEST_WAIT, |deadline| deadline.since(now) / 3)
}

impl Cinnamon {
    fn wait(&mut self, level: u32, waiting: Waiting) {
        self.arrivals += 1;
        let place = (level, self.arrivals);
        self.queue.insert(place, waiting);
        self.places.insert(waiting.id, place);
    }

    fn leave(&mut self, id: u64) {
        if let Some(place) = self.places.remove(&id) {
            self.queue.remove(&place);
        }
    }
}

impl Controller for Cinnamon {
    fn arrive(&mut self, attempt: AttemptInfo, now: Timestamp) -> Answer {
        let level = level(&attempt);
        let full = self.queue.len() >= QUEUE_FACTOR * self.algorithm.limit();
        if !self.rejector.admits(level) || full {
            return Answer::Shed(Refusal::default());
        }
        self.rejector.came_in();
        if self.queue.is_empty() && self.in_flight < self.algorithm.limit() {
            self.in_flight += 1;
            self.rejector.went_on();
            return Answer::Run;
        }
        self.wait(level, Waiting { id: attempt.id, until: patience(&attempt, now) });
        Answer::Wait
    }

    fn depart(&mut self, _attempt: AttemptInfo, sample: &Sample, now: Timestamp) {
        if teaches(sample) {
            self.algorithm.completed(sample, self.in_flight, now);
        }
        self.in_flight -= 1;
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        if let Some(id) = self.late.pop() {
            return Some(Next::Shed(id, Refusal::default()));
        }
        if self.in_flight >= self.algorithm.limit() {
            return None;
        }
        let (_, waiting) = self.queue.pop_first()?;
        self.places.remove(&waiting.id);
        self.in_flight += 1;
        self.rejector.went_on();
        Some(Next::Run(waiting.id))
    }

    fn abandon(&mut self, attempt: AttemptInfo, _now: Timestamp) {
        self.leave(attempt.id);
    }

    fn next_tick(&self) -> Option<Timestamp> {
        Some(self.next_tick)
    }

    fn tick(&mut self, _instruments: &Instruments, now: Timestamp) {
        self.next_tick = now + rejector::INTERVAL;
        self.rejector.calibrate(self.algorithm.limit().saturating_sub(self.in_flight));
        let late = self.queue.values().filter(|waiting| waiting.until <= now);
        self.late = late.map(|waiting| waiting.id).collect();
        for n in 0..self.late.len() {
            self.leave(self.late[n]);
        }
    }

    fn limit(&self) -> f64 {
        self.algorithm.limit() as f64
    }

    fn queued(&self) -> usize {
        self.queue.len()
    }
}

const COHORTS: u32 = 128;
const MIN_SAMPLES: usize = 250;
const SHORTEST_WINDOW: Duration = Duration::from_secs(2);
const QUEUE_FACTOR: usize = 3;
const LONGEST_WAIT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{SITE, at, attempt, attempt_of, success};

    #[test]
    fn the_best_level_runs_first_whatever_the_order_of_arrival() {
        let mut cinnamon = make(&SITE);
        for id in 0..20 {
            assert_eq!(cinnamon.arrive(attempt(id), at(0)), Answer::Run);
        }
        let later = [Priority::Sheddable, Priority::Critical, Priority::Normal];
        for (id, priority) in (20..).zip(later) {
            assert_eq!(cinnamon.arrive(attempt_of(id, priority), at(0)), Answer::Wait);
        }
        cinnamon.depart(attempt(0), &success(1_000, 20), at(1));
        assert_eq!((cinnamon.next(at(1)), cinnamon.next(at(1))), (Some(Next::Run(21)), None));
    }

    #[test]
    fn three_times_the_limit_can_wait_for_half_a_second_at_most() {
        let mut cinnamon = make(&SITE);
        let answers: Vec<_> = (0..81).map(|id| cinnamon.arrive(attempt(id), at(0))).collect();
        assert_eq!((answers[79], answers[80]), (Answer::Wait, Answer::Shed(Refusal::default())));
        cinnamon.tick(&Instruments::default(), at(499));
        assert_eq!((cinnamon.queued(), cinnamon.next(at(499))), (60, None));
        cinnamon.tick(&Instruments::default(), at(500));
        let shed = std::iter::from_fn(|| cinnamon.next(at(500))).count();
        assert_eq!((shed, cinnamon.queued()), (60, 0));
    }
}
