//! How long to wait before the next attempt.

use std::time::{Duration, SystemTime};

use http::header::HeaderMap;

use crate::client::jitter::Jitter;
use crate::client::telemetry::Source;
use crate::headers::retry_after::RetryAfter;

/// A wait, and on whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) span: Duration,
    pub(super) source: Source,
}

/// The server asks for more than anybody here is willing to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Wait {
    /// What `headers` ask for, if that is in the future and no longer than `most`.
    pub(super) fn told(
        headers: &HeaderMap,
        most: Duration,
        jitter: &Jitter,
    ) -> Result<Option<Self>, TooLong> {
        match RetryAfter::from_headers(headers, SystemTime::now()) {
            Some(told) if told.is_capped() || told.delay() > most => Err(TooLong),
            Some(told) if !told.delay().is_zero() => Ok(Some(Self::after(told, jitter))),
            _ => Ok(None),
        }
    }

    /// The server's delay is a floor: jitter only ever adds. A second puts those back in order who
    /// were rounded up to the same number, a tenth spreads those who were sent away for long.
    fn after(told: RetryAfter, jitter: &Jitter) -> Self {
        let spread = RetryAfter::RESOLUTION.max(told.delay() / 10);
        Self { span: told.delay() + jitter.up_to(spread), source: Source::RetryAfter }
    }
}

/// Full jitter under a ceiling that doubles: of all spreads the one that keeps a crowd flattest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) most: Duration,
}

impl Backoff {
    /// The wait after so many attempts, at least one.
    pub(super) fn after(self, attempts: u32, jitter: &Jitter) -> Wait {
        Wait { span: jitter.up_to(self.ceiling(attempts)), source: Source::Backoff }
    }

    fn ceiling(self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        self.first.saturating_mul(doubled).min(self.most)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(50), most: Duration::from_secs(5) }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use http::header::RETRY_AFTER;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn told(value: &str) -> Result<Option<Wait>, TooLong> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        Wait::told(&headers, MINUTE, &Jitter::new(Rng::with_seed(7)))
    }

    #[test]
    fn jitter_only_adds_to_what_the_server_said() {
        for seconds in 1..=60_u64 {
            let floor = Duration::from_secs(seconds);
            let Wait { span, source } = told(&seconds.to_string()).unwrap().unwrap();
            assert!(span >= floor, "{span:?} is before {floor:?}");
            assert!(span <= floor + Duration::from_secs(1).max(floor / 10));
            assert_eq!(source, Source::RetryAfter);
        }
    }

    #[test]
    fn the_jitter_covers_the_whole_second() {
        let jitter = Jitter::new(Rng::with_seed(7));
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "1".parse().unwrap())]);
        let mut tenths = [0; 10];
        for _ in 0..1_000 {
            let wait = Wait::told(&headers, MINUTE, &jitter).unwrap().unwrap();
            let extra = (wait.span - Duration::from_secs(1)).as_millis();
            tenths[usize::try_from(extra / 100).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|tenth| *tenth > 50), "{tenths:?}");
    }

    #[test]
    fn nothing_zero_and_nonsense_leave_it_to_the_backoff() {
        for value in ["0", "soon", "-1", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(told(value), Ok(None), "{value}");
        }
    }

    #[test]
    fn more_than_the_most_is_not_cut_down_to_it() {
        assert!(told("60").is_ok());
        assert_eq!(told("61"), Err(TooLong));
        assert_eq!(told("99999999999999999999"), Err(TooLong));
    }

    #[test]
    fn what_was_capped_is_too_long_even_for_the_most_patient() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "601".parse().unwrap())]);
        let jitter = Jitter::new(Rng::with_seed(7));
        let wait = Wait::told(&headers, RetryAfter::MAX, &jitter);
        assert_eq!(wait, Err(TooLong));
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_most() {
        let backoff = Backoff::default();
        let ceilings: Vec<_> = (1..=9).map(|made| backoff.ceiling(made).as_millis()).collect();
        let expected = [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000];
        assert_eq!(ceilings, expected);
        assert_eq!(backoff.ceiling(u32::MAX), backoff.most);
    }
}
