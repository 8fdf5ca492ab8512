//! What pays for a retry.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client::budget::{Spent, Withdrawal};

/// What pays for a retry. Dropped before the retry is sent, it returns what it took.
#[derive(Debug)]
pub(super) enum Payment {
    Budget(Withdrawal),
    /// The server has scheduled the retry.
    Ticket,
    /// No attempt was sent: layers of this client have rejected them, or connections were refused.
    Unsent {
        _place: OwnedSemaphorePermit,
    },
}

impl Payment {
    /// Keeps the charge, as the retry is sent. Returns what it cost the budget.
    pub(super) fn spend(self) -> Option<Spent> {
        match self {
            Self::Budget(withdrawal) => Some(withdrawal.spend()),
            Self::Ticket | Self::Unsent { .. } => None,
        }
    }
}

/// Requests that wait without a charge since no attempt of theirs was sent.
#[derive(Clone, Debug)]
pub(super) struct UnsentWaits(Arc<Semaphore>);

impl UnsentWaits {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_UNSENT_WAITS)))
    }

    /// A place for a request that is to wait for this long, and has `waited` before; `None` if that is too long, or too many
    /// wait.
    pub(super) fn enter(&self, wait: Duration, waited: Duration) -> Option<Payment> {
        if waited.saturating_add(wait) > MAX_UNSENT_WAIT {
            return None;
        }
        let place = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Payment::Unsent { _place: place })
    }
}

/// As many as the queue of an origin's limit has room for by default.
const MAX_UNSENT_WAITS: usize = 16_384;

/// Ten thousand requests at once to an origin that recovers after a second are told 4 s at most. Where they are told
/// more, the overload lasts, and requests that wait are rejected again: at three times the capacity and without this
/// bound, those that fail take 9 s instead of 0.8 s, and no more are served.
const MAX_UNSENT_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_request_does_not_wait_for_long_without_a_charge() {
        let waits = UnsentWaits::new();
        assert!(waits.enter(5 * SECOND, Duration::ZERO).is_some());
        assert!(waits.enter(3 * SECOND, 2 * SECOND).is_some());
        assert!(waits.enter(4 * SECOND, 2 * SECOND).is_none());
    }

    #[test]
    fn their_number_is_bounded_and_one_that_ends_makes_room() {
        let waits = UnsentWaits::new();
        let enter = || waits.enter(SECOND, Duration::ZERO);
        let mut waiting: Vec<_> = (0..MAX_UNSENT_WAITS).map(|_| enter()).collect();
        assert!(waiting.iter().all(Option::is_some) && enter().is_none());
        waiting.pop();
        assert!(enter().is_some());
    }
}
