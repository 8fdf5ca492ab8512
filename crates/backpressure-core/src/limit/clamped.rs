//! The limit of a controller: any algorithm's, within what a counter can hold and an operator allows.

use crate::limit::{Limit, MAX, Metering};
use crate::limit_change::LimitChange;
use crate::sample::Sample;
use crate::time::Timestamp;

/// Clamps the limit of any algorithm to 1..=[`MAX`], and to the operator's bounds if there are any. The
/// bounds also hold for an algorithm that replaces this one.
#[derive(Debug)]
pub(crate) struct Clamped {
    limit: Box<dyn Limit>,
    bounds: Option<(usize, usize)>,
    /// The most there can be, whatever the algorithm and an operator say: what a set of limits has given to this
    /// one.
    pub(crate) allowance: usize,
}

impl Clamped {
    pub(crate) fn new(limit: Box<dyn Limit>) -> Self {
        Self { limit, bounds: None, allowance: MAX }
    }

    pub(crate) fn replace(&mut self, limit: Box<dyn Limit>) {
        self.limit = limit;
        if let Some((min, max)) = self.bounds {
            self.limit.bound(min, max);
        }
    }

    pub(crate) fn bounds(&self) -> (usize, usize) {
        self.bounds.unwrap_or((1, MAX))
    }
}

impl Limit for Clamped {
    fn limit(&self) -> usize {
        let (min, max) = self.bounds();
        self.limit.limit().clamp(min, max).min(self.allowance)
    }

    fn observe(&mut self, sample: &Sample, now: Timestamp) {
        self.limit.observe(sample, now);
    }

    fn demand(&mut self, overloaded: bool, now: Timestamp) {
        self.limit.demand(overloaded, now);
    }

    fn last_change(&self) -> Option<LimitChange> {
        self.limit.last_change()
    }

    fn workers(&self) -> Option<usize> {
        self.limit.workers()
    }

    fn metering(&self) -> Metering {
        self.limit.metering()
    }

    fn yields(&self) -> bool {
        self.limit.yields()
    }

    fn is_known(&self) -> bool {
        self.limit.is_known()
    }

    fn observe_apart(&mut self, sample: &Sample) {
        self.limit.observe_apart(sample);
    }

    fn stalled(&mut self, now: Timestamp) {
        self.limit.stalled(now);
    }

    fn is_in_vain(&self) -> bool {
        self.limit.is_in_vain()
    }

    fn counts_waiting(&self) -> bool {
        self.limit.counts_waiting()
    }

    /// Bounds that exclude each other are brought together at `min`: an admin handler that passes on
    /// a wrong number must not take a service down.
    fn bound(&mut self, min: usize, max: usize) {
        let min = min.clamp(1, MAX);
        let max = max.clamp(min, MAX);
        self.bounds = Some((min, max));
        self.limit.bound(min, max);
    }

    fn start_at(&mut self, initial: usize) {
        let (min, max) = self.bounds();
        self.limit.start_at(initial.clamp(min, max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An algorithm whose limit is always this number.
    #[derive(Debug)]
    struct Answers(usize);

    impl Limit for Answers {
        fn limit(&self) -> usize {
            self.0
        }

        fn observe(&mut self, _sample: &Sample, _now: Timestamp) {}
    }

    fn answers(limit: usize) -> Clamped {
        Clamped::new(Box::new(Answers(limit)))
    }

    #[test]
    fn any_answer_of_an_algorithm_becomes_a_limit() {
        for (answer, limit) in
            [(0, 1), (1, 1), (7, 7), (MAX, MAX), (1 << 20, MAX), (usize::MAX, MAX)]
        {
            assert_eq!(answers(answer).limit(), limit, "{answer}");
        }
    }

    #[test]
    fn bounds_hold_for_every_algorithm_and_no_pair_of_them_panics() {
        let mut limit = answers(50);
        limit.bound(4, 20);
        assert_eq!(limit.limit(), 20);
        limit.replace(Box::new(Answers(1)));
        assert_eq!(limit.limit(), 4);
        for (min, max, expected) in [(0, 0, 1), (30, 10, 30), (usize::MAX, 0, MAX)] {
            limit.bound(min, max);
            assert_eq!(limit.limit(), expected, "{min}..={max}");
        }
    }
}
