//! What a quota says of a request.

use std::time::Duration;

use super::Quota;

/// What a quota says of a request.
///
/// ```
/// use backpressure_core::{Quota, QuotaDecision, QuotaUsage, Timestamp};
///
/// let (quota, mut usage) = (Quota::per_second(1), [QuotaUsage::default()]);
/// let decisions = [(); 2].map(|()| quota.decide(&mut usage, 0, 1, Timestamp::ZERO));
/// assert_eq!(decisions[0], QuotaDecision::Admit);
/// assert!(matches!(decisions[1], QuotaDecision::Reject(_)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum QuotaDecision {
    /// It runs, and its tokens are taken.
    Admit,
    /// It runs after this time, and its tokens are taken: see [`Quota::smooth`](super::Quota::smooth).
    Delay(Duration),
    /// It does not run, and no token is taken.
    Reject(QuotaRejection),
}

/// Why a quota rejected a request, and when there will be tokens for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaRejection {
    /// When the windows have the tokens for this request, if no other takes them. Zero where the windows have them
    /// now, and too many requests of the tenant run.
    pub retry_after: Duration,
    /// What was exceeded.
    pub violated: Violated,
    /// False: the request costs more than a bucket holds, and is never admitted.
    pub is_possible: bool,
}

impl QuotaRejection {
    /// A rejection by a quota of which it is not known which window was exceeded.
    #[must_use]
    pub fn in_all_windows(quota: &Quota, retry_after: Duration) -> Self {
        let mut violated = Violated::default();
        (0..quota.windows().count()).for_each(|index| violated.add_window(index));
        Self { retry_after, violated, is_possible: true }
    }
}

/// Which parts of a quota a request exceeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Violated(u8);

/// The bit of the number of requests at once; those below are windows.
const IN_FLIGHT: u8 = 7;

impl Violated {
    /// Whether the window at this position is exceeded.
    #[must_use]
    pub const fn window(self, index: usize) -> bool {
        index < IN_FLIGHT as usize && self.0 >> index & 1 == 1
    }

    /// Whether too many requests run at once.
    #[must_use]
    pub const fn in_flight(self) -> bool {
        self.0 >> IN_FLIGHT == 1
    }

    pub(super) const fn add_window(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    pub(super) const fn add_in_flight(&mut self) {
        self.0 |= 1 << IN_FLIGHT;
    }
}
