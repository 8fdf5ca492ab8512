//! Counts of recent calls.

use std::time::Duration;

use super::CallEnding;
use crate::time::Timestamp;

/// How many calls there were, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) all: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
}

/// The calls of a window of time that moves in tenths of itself.
#[derive(Debug)]
pub(super) struct RecentCalls {
    tenths: [Calls; TENTHS],
    /// Length of a tenth, in nanoseconds.
    length: u64,
    /// Number of the newest tenth since the epoch.
    newest: u64,
}

const TENTHS: usize = 10;

impl Calls {
    /// One call; `None`: it does not count.
    pub(super) fn of(ending: CallEnding) -> Option<Self> {
        let one = Self { all: 1, ..Self::default() };
        match ending {
            CallEnding::Succeeded => Some(one),
            CallEnding::Slow => Some(Self { slow: 1, ..one }),
            CallEnding::Failed { .. } => Some(Self { failed: 1, ..one }),
            CallEnding::Ignored => None,
        }
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            all: self.all.saturating_add(other.all),
            failed: self.failed.saturating_add(other.failed),
            slow: self.slow.saturating_add(other.slow),
        }
    }
}

impl RecentCalls {
    pub(super) fn new(window: Duration) -> Self {
        let length = u64::try_from(window.as_nanos() / TENTHS as u128).unwrap_or(u64::MAX).max(1);
        Self { tenths: [Calls::default(); TENTHS], length, newest: 0 }
    }

    pub(super) fn add(&mut self, calls: Calls, now: Timestamp) {
        let number = now.as_nanos() / self.length;
        let over = number.saturating_sub(self.newest).min(TENTHS as u64);
        for n in 1..=over {
            self.tenths[index(self.newest + n)] = Calls::default();
        }
        if over == TENTHS as u64 {
            self.tenths = [Calls::default(); TENTHS];
        }
        self.newest = self.newest.max(number);
        let newest = &mut self.tenths[index(self.newest)];
        *newest = newest.plus(calls);
    }

    pub(super) fn sum(&self) -> Calls {
        self.tenths.iter().fold(Calls::default(), |sum, calls| sum.plus(*calls))
    }
}

const fn index(number: u64) -> usize {
    (number % TENTHS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_call_counts_for_a_window_and_no_longer() {
        let mut recent = RecentCalls::new(10 * SECOND);
        let one = Calls { all: 1, failed: 1, slow: 0 };
        let counted = [0, 5, 9, 10, 12, 40, 41].map(|second| {
            recent.add(one, Timestamp::ZERO + second * SECOND);
            recent.sum().all
        });
        assert_eq!(counted, [1, 2, 3, 3, 4, 1, 2]);
    }
}
