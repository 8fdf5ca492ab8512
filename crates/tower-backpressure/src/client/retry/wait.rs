//! How long a retry waits.

use std::time::{Duration, SystemTime};

use http::header::HeaderMap;

use crate::client::jitter::Jitter;
use crate::client::telemetry::Source;
use crate::headers::retry_after::RetryAfter;

/// The wait before a retry, and what set its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) span: Duration,
    pub(super) source: Source,
}

/// The server asks for a longer wait than the layer allows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Wait {
    /// The wait that `headers` ask for; `None` where they ask for none, or for one that has passed.
    ///
    /// # Errors
    /// When they ask for more than `max`.
    pub(super) fn from_headers(
        headers: &HeaderMap,
        max: Duration,
        jitter: &Jitter,
    ) -> Result<Option<Self>, TooLong> {
        match RetryAfter::from_headers(headers, SystemTime::now()) {
            Some(field) if field.is_capped() || field.delay() > max => Err(TooLong),
            Some(field) if !field.delay().is_zero() => Ok(Some(Self::after(field, jitter))),
            _ => Ok(None),
        }
    }

    /// The server's delay is a lower bound: jitter is only added. One second of jitter spreads clients
    /// whose delays were rounded up to the same number; a tenth spreads clients with long delays.
    fn after(field: RetryAfter, jitter: &Jitter) -> Self {
        let spread = RetryAfter::RESOLUTION.max(field.delay() / JITTER_DIVISOR);
        Self { span: field.delay() + jitter.up_to(spread), source: Source::RetryAfter }
    }
}

/// Full jitter: a random span between zero and a ceiling that doubles with each attempt. Of the kinds
/// compared in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015) it makes the fewest calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) max: Duration,
}

impl Backoff {
    /// The wait after `attempts` attempts, which are at least one.
    pub(super) fn after(self, attempts: u32, jitter: &Jitter) -> Wait {
        Wait { span: jitter.up_to(self.ceiling(attempts)), source: Source::Backoff }
    }

    fn ceiling(self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        self.first.saturating_mul(doubled).min(self.max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: DEFAULT_FIRST_BACKOFF, max: DEFAULT_MAX_BACKOFF }
    }
}

/// Long delays get jitter of one part in this many: 6 s for a minute. Less would let clients with long
/// delays return together; more would waste time that the server has scheduled for them.
const JITTER_DIVISOR: u32 = 10;

/// Longer than the loss of a connection or the restart of a worker, too short for a person to notice.
const DEFAULT_FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// The ceiling from the eighth attempt on. Clients of a server that is down for long then try every few
/// seconds, which is little load, and notice its return soon.
const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use http::header::RETRY_AFTER;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn wait_for(value: &str) -> Result<Option<Wait>, TooLong> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        Wait::from_headers(&headers, MINUTE, &Jitter::new(Rng::with_seed(7)))
    }

    #[test]
    fn jitter_only_adds_to_the_delay_that_the_server_asked_for() {
        for seconds in 1..=60_u64 {
            let floor = Duration::from_secs(seconds);
            let Wait { span, source } = wait_for(&seconds.to_string()).unwrap().unwrap();
            assert!(span >= floor, "{span:?} is before {floor:?}");
            assert!(span <= floor + Duration::from_secs(1).max(floor / 10));
            assert_eq!(source, Source::RetryAfter);
        }
    }

    #[test]
    fn jitter_covers_the_whole_second() {
        let jitter = Jitter::new(Rng::with_seed(7));
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "1".parse().unwrap())]);
        let mut tenths = [0; 10];
        for _ in 0..1_000 {
            let wait = Wait::from_headers(&headers, MINUTE, &jitter).unwrap().unwrap();
            let extra = (wait.span - Duration::from_secs(1)).as_millis();
            tenths[usize::try_from(extra / 100).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|tenth| *tenth > 50), "{tenths:?}");
    }

    #[test]
    fn a_field_that_is_zero_past_or_invalid_leaves_the_wait_to_the_backoff() {
        for value in ["0", "soon", "-1", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(wait_for(value), Ok(None), "{value}");
        }
    }

    #[test]
    fn a_delay_above_the_maximum_is_an_error_and_not_shortened() {
        assert!(wait_for("60").is_ok());
        assert_eq!(wait_for("61"), Err(TooLong));
        assert_eq!(wait_for("99999999999999999999"), Err(TooLong));
    }

    #[test]
    fn a_capped_delay_is_an_error_at_the_longest_maximum() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "601".parse().unwrap())]);
        let jitter = Jitter::new(Rng::with_seed(7));
        let wait = Wait::from_headers(&headers, RetryAfter::MAX, &jitter);
        assert_eq!(wait, Err(TooLong));
    }

    #[test]
    fn the_backoff_ceiling_doubles_up_to_its_maximum() {
        let backoff = Backoff::default();
        let ceilings: Vec<_> =
            (1..=9).map(|attempts| backoff.ceiling(attempts).as_millis()).collect();
        let expected = [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000];
        assert_eq!(ceilings, expected);
        assert_eq!(backoff.ceiling(u32::MAX), backoff.max);
    }
}
