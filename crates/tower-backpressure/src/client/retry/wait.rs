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

/// What the headers of a response say about the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// This delay, which is not zero.
    For(RetryAfter),
    /// No delay, or one that has passed.
    ForNone,
    /// More than the layer allows, or no retry at all.
    ForTooMuch,
    /// There is no field that asks for a delay.
    Nothing,
}

impl Asked {
    pub(super) fn by(headers: &HeaderMap, max: Duration, strict: bool) -> Self {
        let now = SystemTime::now();
        let field = match strict {
            true => RetryAfter::strict(headers, now),
            false => RetryAfter::from_headers(headers, now),
        };
        match field {
            None => Self::Nothing,
            Some(field) if field.is_capped() || field.delay() > max => Self::ForTooMuch,
            Some(field) if field.delay().is_zero() => Self::ForNone,
            Some(field) => Self::For(field),
        }
    }
}

impl Wait {
    /// The server's delay is a lower bound: jitter is only added. One second of jitter spreads clients
    /// whose delays were rounded up to the same number; a tenth spreads clients with long delays.
    ///
    /// `time_left` is the time until the deadline. Jitter takes at most half of what the delay leaves of
    /// it, and leaves the other half to the attempt.
    pub(super) fn after(field: RetryAfter, time_left: Option<Duration>, jitter: &Jitter) -> Self {
        let delay = field.delay();
        let spread = RetryAfter::RESOLUTION.max(delay / JITTER_DIVISOR);
        let room = time_left.map_or(Duration::MAX, |left| left.saturating_sub(delay) / 2);
        Self { span: delay + jitter.up_to(spread.min(room)), source: Source::RetryAfter }
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

    /// The wait after a rejection that names no time. The server is overloaded, or a quota is used up, and
    /// neither ends within milliseconds: at least [`MIN_WAIT_AFTER_REJECTION`], doubled with each
    /// attempt, and up to as much again.
    pub(super) fn after_rejection(self, attempts: u32, jitter: &Jitter) -> Wait {
        let (first, max) = (self.first, self.max);
        let at_least = |span: Duration| span.max(MIN_WAIT_AFTER_REJECTION);
        let floor = Self { first: at_least(first), max: at_least(max) }.ceiling(attempts);
        Wait { span: floor + jitter.up_to(floor), source: Source::Backoff }
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

/// The shortest delay that `Retry-After` in whole seconds can ask for. nginx and haproxy reject without
/// naming a time; clients that returned within milliseconds would be rejected again.
const MIN_WAIT_AFTER_REJECTION: Duration = Duration::from_secs(1);

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

    fn asked(value: &str) -> Asked {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        Asked::by(&headers, MINUTE, false)
    }

    fn wait_for(value: &str, time_left: Option<Duration>, jitter: &Jitter) -> Wait {
        let Asked::For(field) = asked(value) else { panic!("{value} asks for a delay") };
        Wait::after(field, time_left, jitter)
    }

    #[test]
    fn jitter_only_adds_to_the_delay_that_the_server_asked_for() {
        for seconds in 1..=60_u64 {
            let floor = Duration::from_secs(seconds);
            let jitter = Jitter::new(Rng::with_seed(7));
            let Wait { span, source } = wait_for(&seconds.to_string(), None, &jitter);
            assert!(span >= floor, "{span:?} is before {floor:?}");
            assert!(span <= floor + Duration::from_secs(1).max(floor / 10));
            assert_eq!(source, Source::RetryAfter);
        }
    }

    #[test]
    fn jitter_covers_the_whole_second() {
        let jitter = Jitter::new(Rng::with_seed(7));
        let mut tenths = [0; 10];
        for _ in 0..1_000 {
            let wait = wait_for("1", None, &jitter);
            let extra = (wait.span - Duration::from_secs(1)).as_millis();
            tenths[usize::try_from(extra / 100).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|tenth| *tenth > 50), "{tenths:?}");
    }

    #[test]
    fn jitter_leaves_time_for_the_attempt_before_the_deadline() {
        let jitter = Jitter::new(Rng::with_seed(7));
        for _ in 0..1_000 {
            let wait = wait_for("1", Some(Duration::from_millis(1_200)), &jitter);
            assert!((1_000..=1_100).contains(&wait.span.as_millis()), "{:?}", wait.span);
        }
        let too_little = Some(Duration::from_millis(500));
        assert_eq!(wait_for("1", too_little, &jitter).span, Duration::from_secs(1));
    }

    #[test]
    fn a_delay_of_zero_and_a_time_in_the_past_ask_for_no_delay() {
        for value in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(asked(value), Asked::ForNone, "{value}");
        }
        assert_eq!(Asked::by(&HeaderMap::new(), MINUTE, false), Asked::Nothing);
    }

    #[test]
    fn a_value_that_is_invalid_asks_for_a_second_and_for_nothing_in_strict_mode() {
        for value in ["soon", "1e3", "+5"] {
            let wait = wait_for(value, None, &Jitter::new(Rng::with_seed(7)));
            assert!(wait.span >= Duration::from_secs(1), "{value}: {:?}", wait.span);
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(Asked::by(&headers, MINUTE, true), Asked::Nothing, "{value}");
        }
    }

    #[test]
    fn a_delay_above_the_maximum_is_too_much_and_not_shortened() {
        assert!(matches!(asked("60"), Asked::For(_)));
        for value in ["61", "99999999999999999999", "-1"] {
            assert_eq!(asked(value), Asked::ForTooMuch, "{value}");
        }
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "601".parse().unwrap())]);
        assert_eq!(Asked::by(&headers, RetryAfter::MAX, false), Asked::ForTooMuch);
    }

    #[test]
    fn a_rejection_without_a_time_waits_a_second_at_least_and_longer_each_time() {
        let (backoff, jitter) = (Backoff::default(), Jitter::new(Rng::with_seed(7)));
        for (attempts, seconds) in [(1, 1), (2, 2), (3, 4), (4, 5), (9, 5)] {
            let span = backoff.after_rejection(attempts, &jitter).span.as_secs_f64();
            assert!((f64::from(seconds)..=f64::from(2 * seconds)).contains(&span), "{span}");
        }
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
