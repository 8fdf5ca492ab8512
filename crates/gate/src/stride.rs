//! How many pass for each one that is measured.

use backpressure_core::Timestamp;

/// Measures everybody while that is cheap, and one in k when there are very many.
///
/// A measurement costs some 100 ns; at this bound that is less than 0.2 % of a core, and a limit
/// still learns from hundreds of attempts within 20 ms.
#[derive(Debug)]
pub(crate) struct Stride {
    /// One in so many is measured: a power of two.
    every: u32,
    seen: u32,
    since: Timestamp,
}

/// Measurements between two looks at their rate.
const BLOCK: u32 = 256;
/// Measurements a second that are too many.
const MOST: f64 = 20_000.0;
/// Measurements a second below which there is room for twice as many.
const FEW: f64 = 8_000.0;
/// The longest stride.
const LONGEST: u32 = 1_024;

impl Stride {
    pub(crate) const fn new() -> Self {
        Self { every: 1, seen: 0, since: Timestamp::ZERO }
    }

    /// Counts a measurement; the new stride when it changed.
    pub(crate) fn measured(&mut self, now: Timestamp) -> Option<u32> {
        self.seen += 1;
        if self.seen < BLOCK {
            return None;
        }
        let rate = f64::from(BLOCK) / now.since(self.since).as_secs_f64().max(1e-9);
        (self.seen, self.since) = (0, now);
        let every = match rate {
            rate if rate > MOST => (self.every * 2).min(LONGEST),
            rate if rate < FEW => (self.every / 2).max(1),
            _ => self.every,
        };
        let changed = every != self.every;
        self.every = every;
        changed.then_some(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The stride after `blocks` blocks of traffic at `rate` a second.
    fn settle(stride: &mut Stride, rate: f64, blocks: u32) -> u32 {
        let mut now = stride.since;
        for _ in 0..blocks * BLOCK {
            now = now + Duration::from_secs_f64(f64::from(stride.every) / rate);
            stride.measured(now);
        }
        stride.every
    }

    #[test]
    fn everybody_is_measured_until_there_are_very_many() {
        let mut stride = Stride::new();
        assert_eq!(settle(&mut stride, 10_000.0, 20), 1);
        assert_eq!(settle(&mut stride, 1_000_000.0, 20), 64);
        assert_eq!(settle(&mut stride, 100.0, 20), 1);
    }

    #[test]
    fn the_stride_has_a_bound() {
        let mut stride = Stride::new();
        assert_eq!(settle(&mut stride, 1e12, 40), LONGEST);
    }
}
