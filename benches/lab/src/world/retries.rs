//! How clients retry: their budgets and their pauses.

use std::time::Duration;

use backpressure_core::{RetryBudget, Timestamp};

use crate::scenario::stream::{Retry, Stream};

use super::clock::{fraction, mix, nanos};
use super::request::RequestSpec;

/// The retry budgets of the client processes of a stream, if they keep one.
#[derive(Debug)]
pub(crate) struct Fleets(Vec<RetryBudget>);

impl Fleets {
    pub(crate) fn of(stream: &Stream) -> Self {
        let budget = || match stream.retry {
            Retry::Budget { ratio, .. } => Some(RetryBudget::ratio(ratio)),
            Retry::Ours { .. } => Some(RetryBudget::default()),
            _ => None,
        };
        Self((0..stream.fleets).filter_map(|_| budget()).collect())
    }

    /// A client sends a first attempt at `now`, in nanoseconds.
    pub(crate) fn count_first_attempt(&mut self, user: u32, now: u64) {
        if let Some(budget) = self.of_user(user) {
            budget.first_attempts(1, Timestamp::from_nanos(now));
        }
    }

    /// Charges a retry at `now`, in nanoseconds; false where the budget does not allow it.
    pub(crate) fn charge_retry(&mut self, user: u32, now: u64) -> bool {
        let now = Timestamp::from_nanos(now);
        // The retries of this world are always sent, so that none is refunded.
        self.of_user(user).is_none_or(|budget| budget.withdraw(now, false).is_some())
    }

    fn of_user(&mut self, user: u32) -> Option<&mut RetryBudget> {
        let fleet = user as usize % self.0.len().max(1);
        self.0.get_mut(fleet)
    }
}

// Mixed into the key of a request for the pause before an attempt.
const PAUSE: u64 = 1 << 31;
/// Pauses, in seconds, of a client that got no response and has no schedule of its own: up to the first, doubled each
/// time, at most the longest. The defaults of `RetryLayer`.
const FIRST_PAUSE: f64 = 0.05;
const LONGEST_PAUSE: f64 = 5.0;
/// The pause of `RetryLayer`, in seconds, after a first rejection without a time.
const FIRST_PAUSE_AFTER_REJECTION: f64 = 1.0;
/// Longest `Retry-After`, in seconds, that `RetryLayer` waits for.
const LONGEST_TOLD: f64 = 60.0;
const SECOND: u64 = 1_000_000_000;

/// How an attempt ended that may be repeated.
#[derive(Clone, Copy, Debug)]
pub(super) enum AttemptEnd {
    /// Its client has left.
    TimedOut,
    /// It was rejected, with the wait that `Retry-After` asks for, if there is one.
    Rejected(Option<Duration>),
}

/// Pause of a client after this many attempts, of which the last ended so; `None`: it gives up.
pub(super) fn pause_of(
    spec: &RequestSpec,
    retry: Retry,
    attempts: u32,
    end: AttemptEnd,
    now: u64,
) -> Option<u64> {
    if attempts >= retry.attempts() {
        return None;
    }
    let draw = fraction(mix(spec.key, PAUSE + u64::from(attempts)));
    let pause = pause(retry, attempts, end, draw)?;
    (now + pause < spec.ends).then_some(pause)
}

/// Whether such a client waits for as long as `Retry-After` says.
pub(crate) const fn obeys(retry: Retry) -> bool {
    matches!(retry, Retry::Obedient { .. } | Retry::Ours { .. })
}

/// Whether such a client proves that it comes back when told, to a server that asks for proof.
pub(crate) const fn returns_tickets(retry: Retry) -> bool {
    matches!(retry, Retry::Ours { .. })
}

/// The pause after this many attempts; `draw` is a random number in 0..1.
fn pause(retry: Retry, attempts: u32, end: AttemptEnd, draw: f64) -> Option<u64> {
    let doubled = |base: f64, cap: f64| (base * 2.0_f64.powi(attempts.min(60) as i32 - 1)).min(cap);
    let jittered = |base: f64, cap: f64| nanos(draw * doubled(base, cap));
    Some(match (retry, end) {
        (Retry::None, _) => return None,
        (Retry::Naive { after, .. }, _) => nanos(after),
        (Retry::Jittered { base, cap, .. } | Retry::Budget { base, cap, .. }, _) => {
            jittered(base, cap)
        }
        // As `client/retry/wait.rs` of the library, here and below.
        (Retry::Ours { .. }, AttemptEnd::Rejected(None)) => {
            nanos((1.0 + draw) * doubled(FIRST_PAUSE_AFTER_REJECTION, LONGEST_PAUSE))
        }
        (
            Retry::Obedient { .. } | Retry::Ours { .. },
            AttemptEnd::TimedOut | AttemptEnd::Rejected(None),
        ) => jittered(FIRST_PAUSE, LONGEST_PAUSE),
        (Retry::Obedient { whole_seconds: true, .. }, AttemptEnd::Rejected(Some(told))) => {
            whole_seconds(told)
        }
        (Retry::Obedient { .. }, AttemptEnd::Rejected(Some(told))) => told.as_nanos() as u64,
        // The wait it was told, and up to a second or a tenth more.
        (Retry::Ours { .. }, AttemptEnd::Rejected(Some(told))) => {
            let floor = whole_seconds(told);
            if floor > nanos(LONGEST_TOLD) {
                return None;
            }
            floor + (draw * SECOND.max(floor / 10) as f64) as u64
        }
    })
}

/// As the header says it: rounded up, at least one second.
fn whole_seconds(told: Duration) -> u64 {
    (told.as_nanos() as u64).div_ceil(SECOND).max(1) * SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: AttemptEnd = told(2_300);

    const fn told(millis: u64) -> AttemptEnd {
        AttemptEnd::Rejected(Some(Duration::from_millis(millis)))
    }

    fn obedient(whole_seconds: bool) -> Retry {
        Retry::Obedient { attempts: 3, whole_seconds }
    }

    #[test]
    fn a_client_that_obeys_to_the_letter_waits_exactly_as_long_as_it_was_told() {
        assert_eq!(pause(obedient(false), 1, TOLD, 0.9), Some(2_300_000_000));
        assert_eq!(pause(obedient(true), 1, TOLD, 0.9), Some(3 * SECOND));
        assert_eq!(pause(obedient(true), 1, told(1), 0.9), Some(SECOND));
    }

    #[test]
    fn retry_layer_is_never_early_and_spreads_over_a_second_or_a_tenth() {
        let ours = Retry::Ours { attempts: 3 };
        assert_eq!(pause(ours, 1, TOLD, 0.0), Some(3 * SECOND));
        assert_eq!(pause(ours, 1, TOLD, 0.5), Some(3 * SECOND + SECOND / 2));
        assert_eq!(pause(ours, 1, told(40_000), 0.5), Some(42 * SECOND));
        assert_eq!(pause(ours, 1, told(61_000), 0.5), None);
    }

    #[test]
    fn retry_layer_pauses_for_a_second_at_least_after_a_rejection_without_a_time() {
        let pause =
            |made| pause(Retry::Ours { attempts: 9 }, made, AttemptEnd::Rejected(None), 0.5);
        let longest: Vec<_> = (1..=4).map(|made| pause(made).unwrap() / (SECOND / 2)).collect();
        assert_eq!(longest, [3, 6, 12, 15], "halves of a second");
    }

    #[test]
    fn jitter_fills_a_span_that_doubles_up_to_its_cap() {
        let jittered = Retry::Jittered { attempts: 9, base: 0.1, cap: 0.5 };
        let longest: Vec<_> =
            (1..=4).map(|made| pause(jittered, made, TOLD, 1.0).unwrap()).collect();
        assert_eq!(longest, [100_000_000, 200_000_000, 400_000_000, 500_000_000]);
        assert_eq!(pause(jittered, 1, AttemptEnd::TimedOut, 0.0), Some(0));
    }

    #[test]
    fn a_client_that_got_no_response_pauses_longer_each_time() {
        for retry in [obedient(true), Retry::Ours { attempts: 3 }] {
            assert_eq!(pause(retry, 1, AttemptEnd::TimedOut, 1.0), Some(50_000_000));
            assert_eq!(pause(retry, 30, AttemptEnd::TimedOut, 1.0), Some(5 * SECOND));
        }
        assert_eq!(pause(Retry::None, 1, TOLD, 0.5), None);
        let naive = Retry::Naive { attempts: 3, after: 0.2 };
        assert_eq!(pause(naive, 2, AttemptEnd::TimedOut, 0.5), Some(200_000_000));
    }
}
