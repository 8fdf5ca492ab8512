//! The size of a canary's layers: its share of the requests, and what chance adds.

use backpressure_core::QueueBounds;
use backpressure_core::limit::MAX;

use crate::StreamPolicy;

/// The size of layers, as a share of that in the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// As in the file.
    Whole,
    /// For a canary with this share of the requests.
    Canary(f64),
}

/// Of `n` requests in flight, a share `p` is in the canary on average, with a standard deviation of `√(n·p·(1−p))`.
/// With fewer deviations, chance fills a limit that is large enough; with more, a limit that is too small is not
/// noticed.
const DEVIATIONS: f64 = 2.0;

impl Scale {
    pub(super) const fn is_canary(self) -> bool {
        matches!(self, Self::Canary(_))
    }

    /// The part of this many permits.
    pub(super) fn of(self, permits: usize) -> usize {
        let Self::Canary(share) = self else { return permits };
        if permits >= MAX {
            return permits;
        }
        let mean = permits as f64 * share;
        let part = mean + DEVIATIONS * (mean * (1.0 - share)).sqrt();
        (part.ceil() as usize).clamp(1, permits.max(1))
    }

    /// The part of a minimum: chance adds nothing to it.
    pub(super) fn of_minimum(self, permits: usize) -> usize {
        match self {
            Self::Whole => permits,
            Self::Canary(share) => ((permits as f64 * share) as usize).max(1),
        }
    }

    pub(super) fn of_queue(self, mut bounds: QueueBounds) -> QueueBounds {
        if bounds.max_len > 0 {
            bounds.max_len = self.of(bounds.max_len);
        }
        bounds
    }

    pub(super) fn of_streams(self, streams: StreamPolicy) -> StreamPolicy {
        match streams {
            StreamPolicy::Watch(max) if max > 0 => StreamPolicy::Watch(self.of(max)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_has_its_share_and_what_chance_adds() {
        let canary = Scale::Canary(0.05);
        for (permits, part) in [(1, 1), (20, 3), (100, 10), (1_000, 64), (MAX, MAX)] {
            assert_eq!(canary.of(permits), part, "{permits}");
        }
        assert_eq!([canary.of_minimum(4), canary.of_minimum(100)], [1, 5]);
        assert_eq!(Scale::Whole.of(7), 7);
    }
}
