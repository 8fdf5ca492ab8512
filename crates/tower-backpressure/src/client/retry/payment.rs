//! What pays for a retry.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Reason, Shed};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client::budget::{Spent, Withdrawal};

/// What pays for a retry. Dropped before the retry is sent, it returns what it took.
#[derive(Debug)]
pub(super) enum Payment {
    Budget(Withdrawal),
    /// The server has scheduled the retry.
    Ticket,
    /// A layer of this client has rejected the attempt before, which was not sent.
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

    /// A place for a request that was rejected here, and has `waited` before; `None` if it would wait for too long, or too
    /// many do. A breaker and a throttle reject requests so that these fail at once.
    pub(super) fn enter(&self, shed: Shed, waited: Duration) -> Option<Payment> {
        let fails_fast = matches!(shed.reason, Reason::Breaker | Reason::Throttle);
        if fails_fast || waited.saturating_add(shed.retry_after) > MAX_UNSENT_WAIT {
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

    fn shed(reason: Reason, seconds: u64) -> Shed {
        Shed::new(reason, Duration::from_secs(seconds))
    }

    #[test]
    fn a_request_waits_without_a_charge_only_for_a_cooldown_or_a_limit_and_not_for_long() {
        let waits = UnsentWaits::new();
        for reason in [Reason::Cooldown, Reason::Limit, Reason::QueueFull, Reason::QueueTimeout] {
            assert!(waits.enter(shed(reason, 5), Duration::ZERO).is_some(), "{reason:?}");
            assert!(waits.enter(shed(reason, 4), 2 * SECOND).is_none(), "{reason:?}");
        }
        for reason in [Reason::Breaker, Reason::Throttle] {
            assert!(waits.enter(shed(reason, 1), Duration::ZERO).is_none(), "{reason:?}");
        }
    }

    #[test]
    fn their_number_is_bounded_and_one_that_ends_makes_room() {
        let waits = UnsentWaits::new();
        let enter = || waits.enter(shed(Reason::Cooldown, 1), Duration::ZERO);
        let mut waiting: Vec<_> = (0..MAX_UNSENT_WAITS).map(|_| enter()).collect();
        assert!(waiting.iter().all(Option::is_some) && enter().is_none());
        waiting.pop();
        assert!(enter().is_some());
    }
}
