//! The ranges of the options of client layers, for builders, which panic, and for the policy file, which does not.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::headers::retry_after::RetryAfter;

/// What is wrong, as in `…, was 3`.
pub(crate) type Validity = Result<(), String>;

/// Bounds the load of one request where a budget does not, as at a ratio of 1.0. More attempts would
/// hardly fit the default deadline of 30 s. Nine waits of the default backoff are 16 s at most, and each
/// further one adds up to 5 s.
const MAX_ATTEMPTS: u32 = 10;
/// More retries than one process can use, and far below the overflow of a balance.
const MAX_RESERVE: u32 = 1_000_000;

/// # Panics
/// When it is not valid.
pub(crate) fn require(validity: Validity, was: impl Display) {
    if let Err(error) = validity {
        panic!("{error}, was {was}");
    }
}

fn within<T: PartialOrd + std::fmt::Debug>(
    option: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Validity {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(format!("{option} must be in {range:?}")),
    }
}

pub(crate) fn longer_than_zero(option: &str, time: Duration) -> Validity {
    if time.is_zero() { Err(format!("{option} must be longer than zero")) } else { Ok(()) }
}

pub(crate) fn at_least_one(option: &str, number: u32) -> Validity {
    if number == 0 { Err(format!("{option} must be at least 1")) } else { Ok(()) }
}

pub(crate) fn share(option: &str, share: f64) -> Validity {
    within(option, share, 0.01..=1.0)
}

pub(crate) fn max_rejected(share: f64) -> Validity {
    within("max_rejected", share, 0.0..=0.99)
}

pub(crate) fn k(k: f64) -> Validity {
    within("k", k, 1.0..=1_000.0)
}

pub(crate) fn max_attempts(attempts: u32) -> Validity {
    within("max_attempts", attempts, 1..=MAX_ATTEMPTS)
}

pub(crate) fn max_retry_after(time: Duration) -> Validity {
    within("max_retry_after", time, Duration::ZERO..=RetryAfter::MAX)
}

pub(crate) fn max_cooldown(time: Duration) -> Validity {
    within("max_cooldown", time, Duration::from_nanos(1)..=RetryAfter::MAX)
}

pub(crate) fn open_for(time: Duration) -> Validity {
    let most = backpressure_core::BreakerSettings::default().max_open;
    within("open_for", time, Duration::from_nanos(1)..=most)
}

pub(crate) fn backoff(first: Duration, max: Duration) -> Validity {
    match !first.is_zero() && first <= max && max <= RetryAfter::MAX {
        true => Ok(()),
        false => Err("backoff must have first in 1ns..=max and max in first..=600s".to_owned()),
    }
}

pub(crate) fn ratio(ratio: f64) -> Validity {
    within("ratio", ratio, 0.0..=1.0)
}

pub(crate) fn reserve(reserve: u32) -> Validity {
    within("reserve", reserve, 0..=MAX_RESERVE)
}
