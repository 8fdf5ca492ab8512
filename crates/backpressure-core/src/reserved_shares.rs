//! Shares of the capacity that lower priorities get whatever the demand of higher ones is.

use crate::priority::Priority;

/// Counts what a priority is owed: a share of all admissions under overload, less its own.
///
/// Strict priority starves a lower class for as long as higher ones need all of the capacity. A priority with a
/// share collects a credit with each admission, and pays one for each request of its own. A request for which
/// there is a credit goes before all others.
#[derive(Debug, Default)]
pub(crate) struct ReservedShares {
    /// By priority, from 0 to 1.
    shares: [f64; PRIORITIES],
    credits: [f64; PRIORITIES],
}

const PRIORITIES: usize = 4;
/// Credits that a priority keeps while it has no demand. They pass all others at once when it comes: as many
/// as a burst of a small share, and far fewer than would delay the higher ones by a second.
const MAX_CREDITS: f64 = 8.0;

impl ReservedShares {
    /// Reserves this share for a priority, in per cent; what it is owed so far is kept.
    pub(crate) fn reserve(&mut self, priority: Priority, percent: usize) {
        self.shares[priority as usize] = percent.min(100) as f64 / 100.0;
    }

    /// A request of this priority is admitted under overload.
    pub(crate) fn admitted(&mut self, priority: Priority) {
        for (credit, share) in self.credits.iter_mut().zip(self.shares) {
            *credit = (*credit + share).min(MAX_CREDITS);
        }
        let own = &mut self.credits[priority as usize];
        *own = (*own - 1.0).max(0.0);
    }

    /// Takes a credit for a request of this priority, if there is one.
    pub(crate) fn take(&mut self, priority: Priority) -> bool {
        let credit = &mut self.credits[priority as usize];
        let is_owed = *credit >= 1.0;
        if is_owed {
            *credit -= 1.0;
        }
        is_owed
    }

    /// The request for which a credit was taken is rejected.
    pub(crate) fn give_back(&mut self, priority: Priority) {
        self.credits[priority as usize] += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_owed_its_share_of_admissions_less_its_own() {
        let mut shares = ReservedShares::default();
        shares.reserve(Priority::Sheddable, 10);
        let mut served = 0;
        for _ in 0..1_000 {
            shares.admitted(Priority::Critical);
            if shares.take(Priority::Sheddable) {
                served += 1;
            }
            assert!(!shares.take(Priority::Normal), "it has no share");
        }
        assert!((99..=100).contains(&served), "{served}");
    }

    #[test]
    fn what_is_served_anyway_earns_no_credit_and_credits_are_bounded() {
        let mut shares = ReservedShares::default();
        shares.reserve(Priority::Deferrable, 10);
        for _ in 0..100 {
            (0..4).for_each(|_| shares.admitted(Priority::Normal));
            shares.admitted(Priority::Deferrable);
        }
        assert!(!shares.take(Priority::Deferrable), "it has twice its share");
        (0..10_000).for_each(|_| shares.admitted(Priority::Normal));
        let burst = std::iter::repeat_with(|| shares.take(Priority::Deferrable));
        assert_eq!(burst.take(100).filter(|&taken| taken).count(), 8);
        shares.give_back(Priority::Deferrable);
        assert!(shares.take(Priority::Deferrable));
    }
}
