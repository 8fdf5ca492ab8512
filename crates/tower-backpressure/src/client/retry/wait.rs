//! How long a retry waits.

use std::time::{Duration, SystemTime};

use http::header::HeaderMap;

use crate::client::jitter::Jitter;
use crate::client::telemetry::{Source, Wait};
use crate::headers::retry_after::RetryAfter;

/// What the server's word means under the bounds of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// This delay, which is not zero.
    For(Duration),
    /// No delay, or one that has passed.
    ForNone,
    /// More than the layer waits for.
    ForTooMuch,
    /// No retry at all.
    ForNoRetry,
    /// The server does not say.
    Nothing,
}

impl Asked {
    pub(super) fn by(word: Option<RetryAfter>, max: Duration) -> Self {
        match word {
            None => Self::Nothing,
            Some(word) if word.forbids_retry() => Self::ForNoRetry,
            Some(word) if word.is_capped() || word.delay() > max => Self::ForTooMuch,
            Some(word) if word.delay().is_zero() => Self::ForNone,
            Some(word) => Self::For(word.delay()),
        }
    }
}

/// The delay that a response asks for, which has just arrived.
pub(super) fn word_of(headers: &HeaderMap, strict: bool) -> Option<RetryAfter> {
    let now = SystemTime::now();
    match strict {
        true => RetryAfter::strict(headers, now),
        false => RetryAfter::from_headers(headers, now),
    }
}

impl Wait {
    /// The server's delay is a lower bound: jitter is only added. One second of jitter spreads clients
    /// whose delays were rounded up to the same number; a tenth spreads clients with long delays, and
    /// those with delays that were not rounded to seconds.
    pub(super) fn asked_for(delay: Duration, jitter: &Jitter, left: TimeLeft) -> Self {
        let is_rounded = delay.subsec_nanos() == 0;
        let least = if is_rounded { RetryAfter::RESOLUTION } else { LEAST_JITTER };
        let spread = least.max(delay / JITTER_DIVISOR);
        let span = delay.saturating_add(left.jitter(delay, spread, jitter));
        Self { span, source: Source::RetryAfter }
    }

    /// A cool-down inside has added the jitter. With a second one of its own the later of two moments would count, and
    /// clients that were told the same would return when it is twice as likely.
    pub(super) const fn until_resumed(span: Duration) -> Self {
        Self { span, source: Source::RetryAfter }
    }
}

/// The time until the deadline, if there is one. Jitter takes at most half of what a delay leaves of it,
/// and leaves the other half to the attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLeft(pub(super) Option<Duration>);

impl TimeLeft {
    fn jitter(self, delay: Duration, spread: Duration, jitter: &Jitter) -> Duration {
        jitter.up_to(spread.min(self.room(delay)))
    }

    /// Whether this span is no shorter than the delay, and no longer than with its jitter.
    pub(super) fn allows(self, delay: Duration, span: Duration) -> bool {
        span >= delay && span - delay <= self.room(delay)
    }

    fn room(self, delay: Duration) -> Duration {
        self.0.map_or(Duration::MAX, |left| left.saturating_sub(delay) / 2)
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

    /// The wait after a connection could not be made, or after the second attempt that no server answered. The
    /// server may be restarting, which takes a second or two, or a lost packet was in the way: at least
    /// [`MIN_WAIT_AFTER_FAILED_CONNECTION`], four times as long with each attempt, and up to as much again. Three
    /// attempts span more than a second.
    pub(super) fn after_failed_connection(
        self,
        attempts: u32,
        jitter: &Jitter,
        left: TimeLeft,
    ) -> Wait {
        let doublings = 2 * attempts.saturating_sub(1);
        let floor =
            MIN_WAIT_AFTER_FAILED_CONNECTION.saturating_mul(2_u32.saturating_pow(doublings));
        let floor = floor.min(self.max.max(MIN_WAIT_AFTER_REJECTION));
        Wait { span: floor + left.jitter(floor, floor, jitter), source: Source::Backoff }
    }

    /// The wait after a rejection that names no time. The server is overloaded, or a quota is used up, and
    /// neither ends within milliseconds: at least [`MIN_WAIT_AFTER_REJECTION`], doubled with each
    /// attempt, and up to as much again.
    pub(super) fn after_rejection(self, attempts: u32, jitter: &Jitter, left: TimeLeft) -> Wait {
        let (first, max) = (self.first, self.max);
        let at_least = |span: Duration| span.max(MIN_WAIT_AFTER_REJECTION);
        let floor = Self { first: at_least(first), max: at_least(max) }.ceiling(attempts);
        Wait { span: floor + left.jitter(floor, floor, jitter), source: Source::Backoff }
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
pub(in crate::client) const MIN_WAIT_AFTER_REJECTION: Duration = Duration::from_secs(1);

/// A process that restarts does not listen for some hundred milliseconds. With three attempts, a shorter wait
/// here would give up within a second; a longer one would delay all requests that meet a lost connection.
pub(in crate::client) const MIN_WAIT_AFTER_FAILED_CONNECTION: Duration = Duration::from_millis(250);

/// The least spread of delays that are not whole seconds. Such a delay was computed for one client, or is
/// a constant of the server's that many clients got.
const LEAST_JITTER: Duration = Duration::from_millis(100);

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

    const ANY: TimeLeft = TimeLeft(None);

    fn asked(value: &str) -> Asked {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        Asked::by(word_of(&headers, false), MINUTE)
    }

    fn wait_for(value: &str, left: TimeLeft, jitter: &Jitter) -> Wait {
        let Asked::For(delay) = asked(value) else { panic!("{value} asks for a delay") };
        Wait::asked_for(delay, jitter, left)
    }

    #[test]
    fn jitter_only_adds_to_the_delay_that_the_server_asked_for() {
        for seconds in 1..=60_u64 {
            let floor = Duration::from_secs(seconds);
            let jitter = Jitter::new(Rng::with_seed(7));
            let Wait { span, source } = wait_for(&seconds.to_string(), ANY, &jitter);
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
            let wait = wait_for("1", ANY, &jitter);
            let extra = (wait.span - Duration::from_secs(1)).as_millis();
            tenths[usize::try_from(extra / 100).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|tenth| *tenth > 50), "{tenths:?}");
    }

    #[test]
    fn the_end_of_a_cooldown_counts_if_it_is_not_early_and_leaves_time_for_the_attempt() {
        let (second, left) = (Duration::from_secs(1), TimeLeft(Some(2 * Duration::from_secs(1))));
        assert!(ANY.allows(second, 2 * second) && !ANY.allows(second, second / 2));
        assert!(left.allows(second, second) && left.allows(second, 3 * second / 2));
        assert!(!left.allows(second, 2 * second));
    }

    #[test]
    fn jitter_leaves_time_for_the_attempt_before_the_deadline() {
        let jitter = Jitter::new(Rng::with_seed(7));
        for _ in 0..1_000 {
            let wait = wait_for("1", TimeLeft(Some(Duration::from_millis(1_200))), &jitter);
            assert!((1_000..=1_100).contains(&wait.span.as_millis()), "{:?}", wait.span);
        }
        let too_little = TimeLeft(Some(Duration::from_millis(500)));
        assert_eq!(wait_for("1", too_little, &jitter).span, Duration::from_secs(1));
    }

    #[test]
    fn a_delay_of_zero_and_a_time_in_the_past_ask_for_no_delay() {
        for value in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(asked(value), Asked::ForNone, "{value}");
        }
        assert_eq!(Asked::by(word_of(&HeaderMap::new(), false), MINUTE), Asked::Nothing);
    }

    #[test]
    fn a_value_that_is_invalid_asks_for_a_second_and_for_nothing_in_strict_mode() {
        for value in ["soon", "1e3", "+5"] {
            let wait = wait_for(value, ANY, &Jitter::new(Rng::with_seed(7)));
            assert!(wait.span >= Duration::from_secs(1), "{value}: {:?}", wait.span);
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(Asked::by(word_of(&headers, true), MINUTE), Asked::Nothing, "{value}");
        }
    }

    #[test]
    fn a_delay_above_the_maximum_is_too_much_and_not_shortened() {
        assert!(matches!(asked("60"), Asked::For(_)));
        for value in ["61", "99999999999999999999"] {
            assert_eq!(asked(value), Asked::ForTooMuch, "{value}");
        }
        assert_eq!(asked("-1"), Asked::ForNoRetry);
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "601".parse().unwrap())]);
        assert_eq!(Asked::by(word_of(&headers, false), RetryAfter::MAX), Asked::ForTooMuch);
    }

    #[test]
    fn a_rejection_without_a_time_waits_a_second_at_least_and_longer_each_time() {
        let (backoff, jitter) = (Backoff::default(), Jitter::new(Rng::with_seed(7)));
        for (attempts, seconds) in [(1, 1), (2, 2), (3, 4), (4, 5), (9, 5)] {
            let span = backoff.after_rejection(attempts, &jitter, ANY).span.as_secs_f64();
            assert!((f64::from(seconds)..=f64::from(2 * seconds)).contains(&span), "{span}");
        }
    }

    #[test]
    fn three_attempts_to_connect_span_more_than_a_second() {
        let (backoff, jitter) = (Backoff::default(), Jitter::new(Rng::with_seed(7)));
        for (attempts, millis) in [(1, 250), (2, 1_000), (3, 4_000), (4, 5_000), (99, 5_000)] {
            let wait = backoff.after_failed_connection(attempts, &jitter, ANY);
            assert!((millis..=2 * millis).contains(&wait.span.as_millis()), "{:?}", wait.span);
        }
    }

    #[test]
    fn a_delay_that_was_not_rounded_gets_a_tenth_of_jitter() {
        let jitter = Jitter::new(Rng::with_seed(7));
        for _ in 0..1_000 {
            let span = wait_for("2.5", ANY, &jitter).span.as_millis();
            assert!((2_500..=2_750).contains(&span), "{span}");
            let span = wait_for("0.05", ANY, &jitter).span.as_millis();
            assert!((50..=150).contains(&span), "{span}");
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
